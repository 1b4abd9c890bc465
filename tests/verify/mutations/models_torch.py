"""The four networks of the catalogue in torch; options plant a difference on this side."""

import torch
from torch import nn
from torch.nn import functional as f


class Mlp(nn.Module):
    """A dense layer, an activation, a pre-normed residual layer with a square kernel, a head."""

    def __init__(self, **options):
        super().__init__()
        self.options = options
        self.fc1 = nn.Linear(6, 16)
        self.act = options.get("act", nn.GELU())
        self.ln = nn.LayerNorm(16)
        self.fc2 = nn.Linear(16, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        if "clamp" in self.options:
            x = x.clamp(-1, 1)
        h = self.act(self.fc1(x))
        h = h + self.options.get("offset", 0.0)
        h = h + self.fc2(self.ln(h))
        if "max" in self.options:
            h = h - h.max(dim=0).values
        return self.head(h)


class Cnn(nn.Module):
    """Two convolutions with norms and pools, and a head over the flattened image."""

    def __init__(self, **options):
        super().__init__()
        self.options = options
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, padding_mode=options.get("padding_mode", "zeros"))
        self.bn = nn.BatchNorm2d(8)
        self.relu = options.get("act", nn.ReLU())
        self.pool = options.get("pool", nn.MaxPool2d(2))
        self.conv2 = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.gn = nn.GroupNorm(options.get("groups", 4), 8)
        self.fc = nn.Linear(8 * 2 * 3, 4)

    def forward(self, x):
        if "resize" in self.options:
            x = self.options["resize"](x)
        h = self.pool(self.relu(self.bn(self.conv1(x))))
        h = f.relu(self.gn(self.conv2(h)))
        return self.fc(h.flatten(1))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width, **options):
        super().__init__()
        self.options = options
        self.ln1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, 4, batch_first=True)
        self.ln2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 2 * width)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(2 * width, width)

    def forward(self, x):
        h = self.ln1(x)
        mask = None
        if self.options.get("causal"):
            mask = torch.triu(torch.ones(x.shape[1], x.shape[1], dtype=torch.bool), 1)
        x = x + self.attn(h, h, h, attn_mask=mask, need_weights=False)[0]
        return x + self.fc2(self.act(self.fc1(self.ln2(x))))


class Transformer(nn.Module):
    """A language model of two blocks; the head is tied to the embedding where asked."""

    def __init__(self, **options):
        super().__init__()
        self.embed = nn.Embedding(11, 16, padding_idx=options.get("padding_idx"))
        self.pos = nn.Parameter(torch.randn(7, 16))
        self.blocks = nn.ModuleList([Block(16, **options) for _ in range(2)])
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 11, bias=False)
        if options.get("tied"):
            self.head.weight = self.embed.weight

    def forward(self, tokens):
        x = self.embed(tokens) + self.pos
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Tagger(nn.Module):
    """An embedding, a recurrent layer, a head at every position."""

    def __init__(self, cell="lstm", **options):
        super().__init__()
        self.options = options
        self.embed = nn.Embedding(11, 8)
        self.rnn = {"lstm": nn.LSTM, "gru": nn.GRU}[cell](8, 12, batch_first=True)
        self.head = nn.Linear(12, 4)

    def forward(self, tokens):
        return self.head(self.rnn(self.embed(tokens))[0])
