"""ResNet-20 (He et al. 2016), ViT (Dosovitskiy et al. 2021), GPT (Radford et al. 2019), an LSTM tagger."""

import torch
from torch import nn
from torch.nn import functional as f


class Basic(nn.Module):
    """Two 3 x 3 convolutions and a shortcut of zeros where the shape changes (option A of the paper)."""

    def __init__(self, wide_in, wide, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(wide_in, wide, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(wide)
        self.conv2 = nn.Conv2d(wide, wide, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(wide)
        self.stride, self.extra = stride, wide - wide_in

    def forward(self, x):
        h = self.bn2(self.conv2(f.relu(self.bn1(self.conv1(x)))))
        short = f.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))
        return f.relu(h + short)


class ResNet20(nn.Module):
    """Three stages of three blocks with 16, 32 and 64 channels."""

    def __init__(self, classes=10):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        widths = [(16, 16, 1), *[(16, 16, 1)] * 2, (16, 32, 2), *[(32, 32, 1)] * 2, (32, 64, 2), *[(64, 64, 1)] * 2]
        self.blocks = nn.ModuleList([Basic(*w) for w in widths])
        self.fc = nn.Linear(64, classes)

    def forward(self, x):
        x = f.relu(self.bn(self.conv(x)))
        for block in self.blocks:
            x = block(x)
        return self.fc(x.mean((2, 3)))


class Layer(nn.Module):
    """A pre-norm block: attention and a dense part of four times the width."""

    def __init__(self, width, heads, causal=False):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gelu, self.causal = nn.GELU(approximate="tanh" if causal else "none"), causal

    def forward(self, x):
        h, mask = self.ln1(x), None
        if self.causal:
            mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        x = x + self.attn(h, h, h, attn_mask=mask, need_weights=False)[0]
        return x + self.fc2(self.gelu(self.fc1(self.ln2(x))))


class Vit(nn.Module):
    """Patches of 4 x 4, a class token, learned positions."""

    def __init__(self, width=48, depth=3, patches=16, classes=10):
        super().__init__()
        self.patch = nn.Conv2d(3, width, 4, 4)
        self.cls = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.pos = nn.Parameter(0.02 * torch.randn(1, patches + 1, width))
        self.layers = nn.ModuleList([Layer(width, 4) for _ in range(depth)])
        self.ln = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.pos
        for layer in self.layers:
            x = layer(x)
        return self.head(self.ln(x)[:, 0])


class Gpt(nn.Module):
    """A causal decoder whose head is its token embedding."""

    def __init__(self, words=37, width=48, depth=3, length=12):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(words, width), nn.Embedding(length, width)
        self.h = nn.ModuleList([Layer(width, 4, causal=True) for _ in range(depth)])
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, words, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1], device=tokens.device))
        for layer in self.h:
            x = layer(x)
        return self.lm_head(self.ln_f(x))


class Tagger(nn.Module):
    """Embedding, two LSTM layers, a tag at every position; torch's second bias is held at zero."""

    def __init__(self, words=37, width=16, hidden=24, tags=5):
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.lower = nn.LSTM(width, hidden, batch_first=True)
        self.upper = nn.LSTM(hidden, hidden, batch_first=True)
        self.tag = nn.Linear(hidden, tags)
        for layer in (self.lower, self.upper):
            nn.init.zeros_(layer.bias_hh_l0).requires_grad_(False)

    def forward(self, tokens):
        return self.tag(self.upper(self.lower(self.embed(tokens))[0])[0])
