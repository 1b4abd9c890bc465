# ruff: noqa: E501 - written as people write it
"""Two Swin blocks, the second with shifted windows: relative position bias, cyclic shift, patch merging -> linen."""

import flax.linen as fnn
import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

SIZE, WINDOW, WIDTH, HEADS = 8, 4, 12, 3


def windows(x, w):
    b, h, v, c = x.shape
    return x.view(b, h // w, w, v // w, w, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, w * w, c)


def whole(x, w, h, v):
    b = x.shape[0] // ((h // w) * (v // w))
    return x.view(b, h // w, v // w, w, w, -1).permute(0, 1, 3, 2, 4, 5).reshape(b, h, v, -1)


def position_index(w):
    coords = torch.stack(torch.meshgrid(torch.arange(w), torch.arange(w), indexing="ij")).flatten(1)
    relative = (coords[:, :, None] - coords[:, None, :]).permute(1, 2, 0) + w - 1
    return relative[..., 0] * (2 * w - 1) + relative[..., 1]


def shift_mask(size, w, shift):
    image = torch.zeros(1, size, size, 1)
    count = 0
    for rows in (slice(0, -w), slice(-w, -shift), slice(-shift, None)):
        for columns in (slice(0, -w), slice(-w, -shift), slice(-shift, None)):
            image[:, rows, columns] = count
            count += 1
    flat = windows(image, w).view(-1, w * w)
    apart = flat[:, None, :] - flat[:, :, None]
    return apart.masked_fill(apart != 0, -100.0).masked_fill(apart == 0, 0.0)


class WindowAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.relative_position_bias_table = nn.Parameter(torch.randn((2 * WINDOW - 1) ** 2, HEADS) * 0.5)
        self.register_buffer("relative_position_index", position_index(WINDOW))
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.softmax = nn.Softmax(dim=-1)

    def forward(self, x, mask=None):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, HEADS, c // HEADS).permute(2, 0, 3, 1, 4)
        scores = (q * (c // HEADS) ** -0.5) @ k.transpose(-2, -1)
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)]
        scores = scores + bias.view(n, n, -1).permute(2, 0, 1).unsqueeze(0)
        if mask is not None:
            scores = scores.view(b // len(mask), len(mask), HEADS, n, n) + mask.unsqueeze(1).unsqueeze(0)
            scores = scores.view(-1, HEADS, n, n)
        return self.proj((self.softmax(scores) @ v).transpose(1, 2).reshape(b, n, c))


class Block(nn.Module):
    def __init__(self, shift):
        super().__init__()
        self.shift = shift
        self.norm1, self.attn, self.norm2 = nn.LayerNorm(WIDTH), WindowAttention(), nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))
        self.register_buffer("attn_mask", shift_mask(SIZE, WINDOW, shift) if shift else None)

    def forward(self, x):
        _, h, v, _ = x.shape
        y = self.norm1(x)
        if self.shift:
            y = torch.roll(y, (-self.shift, -self.shift), (1, 2))
        y = whole(self.attn(windows(y, WINDOW), self.attn_mask), WINDOW, h, v)
        if self.shift:
            y = torch.roll(y, (self.shift, self.shift), (1, 2))
        x = x + y
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm(4 * WIDTH), nn.Linear(4 * WIDTH, 2 * WIDTH, bias=False)

    def forward(self, x):
        parts = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        return self.reduction(self.norm(torch.cat(parts, -1)))


class Swin(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, WIDTH, 2, 2)
        self.blocks = nn.ModuleList([Block(0), Block(2)])
        self.downsample, self.norm, self.head = PatchMerging(), nn.LayerNorm(2 * WIDTH), nn.Linear(2 * WIDTH, 5)

    def forward(self, x):
        x = self.patch_embed(x).permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(self.downsample(x)).mean((1, 2)))


def j_windows(x, w):
    b, h, v, c = x.shape
    return x.reshape(b, h // w, w, v // w, w, c).transpose(0, 1, 3, 2, 4, 5).reshape(-1, w * w, c)


def j_whole(x, w, h, v):
    b = x.shape[0] // ((h // w) * (v // w))
    return x.reshape(b, h // w, v // w, w, w, -1).transpose(0, 1, 3, 2, 4, 5).reshape(b, h, v, -1)


class JWindowAttention(fnn.Module):
    bug: str

    @fnn.compact
    def __call__(self, x, mask=None):
        b, n, c = x.shape
        table = self.param(
            "relative_position_bias_table", fnn.initializers.normal(0.02), ((2 * WINDOW - 1) ** 2, HEADS)
        )
        index = np.asarray(position_index(WINDOW))
        if self.bug == "index transposed":
            index = index.T
        qkv = fnn.Dense(3 * WIDTH, name="qkv")(x)
        if self.bug == "qkv by head":
            qkv = qkv.reshape(b, n, HEADS, 3, c // HEADS).transpose(3, 0, 2, 1, 4)
        else:
            qkv = qkv.reshape(b, n, 3, HEADS, c // HEADS).transpose(2, 0, 3, 1, 4)
        q, k, v = qkv
        scale = c**-0.5 if self.bug == "scale" else (c // HEADS) ** -0.5
        scores = jnp.einsum("bhnd,bhmd->bhnm", q * scale, k)
        if self.bug != "no position bias":
            scores = scores + table[index.reshape(-1)].reshape(n, n, HEADS).transpose(2, 0, 1)[None]
        if mask is not None:
            grouped = scores.reshape(b // len(mask), len(mask), HEADS, n, n) + mask[None, :, None]
            scores = grouped.reshape(-1, HEADS, n, n)
        weights = jax.nn.softmax(scores, -2 if self.bug == "softmax axis" else -1)
        return fnn.Dense(WIDTH, name="proj")((weights @ v).transpose(0, 2, 1, 3).reshape(b, n, c))


class JBlock(fnn.Module):
    shift: int
    bug: str

    @fnn.compact
    def __call__(self, x):
        _, h, v, _ = x.shape
        y = fnn.LayerNorm(epsilon=1e-6 if self.bug == "eps" else 1e-5, name="norm1")(x)
        mask = None
        if self.shift:
            way = 1 if self.bug == "shift sign" else -1
            y = jnp.roll(y, (way * self.shift, way * self.shift), (1, 2))
            mask = None if self.bug == "mask missing" else jnp.asarray(shift_mask(SIZE, WINDOW, self.shift).numpy())
        y = j_whole(JWindowAttention(self.bug, name="attn")(j_windows(y, WINDOW), mask), WINDOW, h, v)
        if self.shift and self.bug != "no shift back":
            way = -1 if self.bug == "shift sign" else 1
            y = jnp.roll(y, (way * self.shift, way * self.shift), (1, 2))
        x = x + y
        y = fnn.LayerNorm(epsilon=1e-6 if self.bug == "eps" else 1e-5, name="norm2")(x)
        y = fnn.gelu(fnn.Dense(2 * WIDTH, name="mlp_0")(y), approximate=self.bug == "gelu")
        return x + fnn.Dense(WIDTH, name="mlp_2")(y)


class JSwin(fnn.Module):
    bug: str = ""

    @fnn.compact
    def __call__(self, x):
        x = fnn.Conv(WIDTH, (2, 2), (2, 2), padding="VALID", name="patch_embed")(x)
        for i, shift in enumerate((0, 2)):
            x = JBlock(shift, self.bug, name=f"blocks_{i}")(x)
        parts = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        if self.bug == "merge order":
            parts = [parts[0], parts[2], parts[1], parts[3]]
        x = fnn.LayerNorm(epsilon=1e-5, name="downsample_norm")(jnp.concatenate(parts, -1))
        x = fnn.Dense(2 * WIDTH, use_bias=False, name="downsample_reduction")(x)
        x = fnn.LayerNorm(epsilon=1e-5, name="norm")(x)
        x = x[:, 0, 0] if self.bug == "first token" else x.mean((1, 2))
        return fnn.Dense(5, name="head")(x)


ATTENTION = "blocks.0.attn blocks.0.attn.proj blocks.1.attn blocks.1.attn.proj"
RIGHT = {
    "index transposed": (ATTENTION, "attention-bias"),
    "qkv by head": (ATTENTION, "qkv-order"),
    "scale": (ATTENTION, "attention-scale"),
    "no position bias": (ATTENTION, "attention-bias"),
    "softmax axis": (ATTENTION + " blocks.0.attn.softmax", "softmax-axis"),
    "eps": ("blocks.0.norm1", "epsilon"),
    "shift sign": ("blocks.1.attn blocks.1.attn.qkv", "shift"),
    "mask missing": ("blocks.1.attn blocks.1.attn.proj blocks.1.attn.softmax", "mask"),
    "no shift back": ("blocks.1 blocks.1.norm2", "shift"),
    "gelu": ("blocks.0.mlp.1 blocks.0.mlp.2", "gelu-form"),
    "merge order": ("downsample downsample.norm", "concat-order"),
    "first token": ("head norm (model)", "pool-kind"),
}
BUGS = ["", *RIGHT]


def make(bug=""):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    return {"torch": Swin().eval(), "jax": JSwin(bug), "loss": "cross_entropy",
            "batch": (rng.normal(size=(2, 3, 2 * SIZE, 2 * SIZE)).astype(np.float32), rng.integers(0, 5, 2))}  # fmt: skip
