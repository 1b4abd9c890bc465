# ruff: noqa: E501 - written as people write it
"""A small diffusion UNet: time embedding, residual blocks with group norm, attention, skips, resizing -> NNX."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from torch import nn
from torch.nn import functional

WIDTH, GROUPS = 8, 4


def timestep_embedding(t, dim):
    half = dim // 2
    freqs = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half)
    angles = t[:, None].float() * freqs[None]
    return torch.cat([torch.cos(angles), torch.sin(angles)], -1)


class ResBlock(nn.Module):
    def __init__(self, wide, out):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(GROUPS, wide, eps=1e-6), nn.Conv2d(wide, out, 3, padding=1)
        self.time = nn.Linear(4 * WIDTH, out)
        self.norm2, self.conv2 = nn.GroupNorm(GROUPS, out, eps=1e-6), nn.Conv2d(out, out, 3, padding=1)
        self.skip = nn.Conv2d(wide, out, 1) if wide != out else nn.Identity()

    def forward(self, x, emb):
        h = self.conv1(functional.silu(self.norm1(x)))
        h = h + self.time(functional.silu(emb))[:, :, None, None]
        return self.skip(x) + self.conv2(functional.silu(self.norm2(h)))


class AttentionBlock(nn.Module):
    def __init__(self, wide):
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, wide, eps=1e-6)
        self.q, self.k, self.v, self.proj = (nn.Conv2d(wide, wide, 1) for _ in range(4))

    def forward(self, x):
        b, c, h, w = x.shape
        y = self.norm(x)
        q, k, v = (m(y).reshape(b, c, h * w) for m in (self.q, self.k, self.v))
        scores = torch.softmax(torch.bmm(q.transpose(1, 2), k) * c**-0.5, -1)
        return x + self.proj(torch.bmm(v, scores.transpose(1, 2)).reshape(b, c, h, w))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.time_embed = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.SiLU(), nn.Linear(4 * WIDTH, 4 * WIDTH))
        self.conv_in = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.down, self.pool = ResBlock(WIDTH, 2 * WIDTH), nn.Conv2d(2 * WIDTH, 2 * WIDTH, 3, stride=2, padding=1)
        self.mid, self.attn = ResBlock(2 * WIDTH, 2 * WIDTH), AttentionBlock(2 * WIDTH)
        self.up = ResBlock(4 * WIDTH, WIDTH)
        self.norm_out, self.conv_out = nn.GroupNorm(GROUPS, WIDTH, eps=1e-6), nn.Conv2d(WIDTH, 3, 3, padding=1)

    def forward(self, x, t):
        emb = self.time_embed(timestep_embedding(t, WIDTH))
        x = self.conv_in(x)
        skip = self.down(x, emb)
        h = self.attn(self.mid(self.pool(skip), emb))
        h = functional.interpolate(h, scale_factor=2, mode="nearest")
        h = self.up(torch.cat([h, skip], 1), emb)
        return self.conv_out(functional.silu(self.norm_out(h)))


def j_embedding(t, dim, bug):
    half = dim // 2
    freqs = jnp.exp(
        -math.log(10000) * jnp.arange(half, dtype=jnp.float32) / (half - 1 if bug == "freq shift" else half)
    )
    angles = t[:, None].astype(jnp.float32) * freqs[None]
    parts = [jnp.cos(angles), jnp.sin(angles)]
    return jnp.concatenate(parts[::-1] if bug == "sin first" else parts, -1)


class JResBlock(nnx.Module):
    def __init__(self, wide, out, bug, rngs):
        self.bug = bug
        groups = 2 if bug == "groups" else GROUPS
        eps = 1e-5 if bug == "eps" else 1e-6
        self.norm1 = nnx.GroupNorm(wide, groups, epsilon=eps, rngs=rngs)
        self.conv1 = nnx.Conv(wide, out, (3, 3), padding=1, rngs=rngs)
        self.time = nnx.Linear(4 * WIDTH, out, rngs=rngs)
        self.norm2 = nnx.GroupNorm(out, groups, epsilon=eps, rngs=rngs)
        self.conv2 = nnx.Conv(out, out, (3, 3), padding=1, rngs=rngs)
        self.skip = nnx.Conv(wide, out, (1, 1), rngs=rngs) if wide != out else None

    def __call__(self, x, emb):
        act = jax.nn.relu if self.bug == "relu" else jax.nn.silu
        h = self.conv1(act(self.norm1(x)))
        time = self.time(emb if self.bug == "no silu on time" else jax.nn.silu(emb))
        h = h * (1 + time[:, None, None]) if self.bug == "time scales" else h + time[:, None, None]
        h = self.conv2(act(self.norm2(h)))
        return (x if self.skip is None else self.skip(x)) + h


class JAttention(nnx.Module):
    def __init__(self, wide, bug, rngs):
        self.bug = bug
        self.norm = nnx.GroupNorm(wide, GROUPS, epsilon=1e-6, rngs=rngs)
        self.q, self.k, self.v, self.proj = (nnx.Conv(wide, wide, (1, 1), rngs=rngs) for _ in range(4))

    def __call__(self, x):
        b, h, w, c = x.shape
        y = self.norm(x)
        q, k, v = (m(y).reshape(b, h * w, c) for m in (self.q, self.k, self.v))
        scale = 1.0 if self.bug == "no scale" else c**-0.5
        weights = jax.nn.softmax(jnp.einsum("bnc,bmc->bnm", q, k) * scale, -1)
        y = self.proj(jnp.einsum("bnm,bmc->bnc", weights, v).reshape(b, h, w, c))
        return y if self.bug == "no residual" else x + y


class JUNet(nnx.Module):
    def __init__(self, bug, rngs):
        self.bug = bug
        self.time_embed = nnx.List([nnx.Linear(wide, 4 * WIDTH, rngs=rngs) for wide in (WIDTH, 4 * WIDTH)])
        self.conv_in = nnx.Conv(3, WIDTH, (3, 3), padding=1, rngs=rngs)
        self.down = JResBlock(WIDTH, 2 * WIDTH, bug, rngs)
        self.pool = nnx.Conv(2 * WIDTH, 2 * WIDTH, (3, 3), 2, padding="SAME" if bug == "SAME" else 1, rngs=rngs)
        self.mid, self.attn = JResBlock(2 * WIDTH, 2 * WIDTH, bug, rngs), JAttention(2 * WIDTH, bug, rngs)
        self.up = JResBlock(4 * WIDTH, WIDTH, bug, rngs)
        self.norm_out = nnx.GroupNorm(WIDTH, GROUPS, epsilon=1e-6, rngs=rngs)
        self.conv_out = nnx.Conv(WIDTH, 3, (3, 3), padding=1, rngs=rngs)

    def __call__(self, x, t):
        emb = j_embedding(t, WIDTH, self.bug)
        emb = self.time_embed[1](jax.nn.silu(self.time_embed[0](emb)))
        x = self.conv_in(x)
        skip = self.down(x, emb)
        h = self.attn(self.mid(self.pool(skip), emb))
        b, p, q, c = h.shape
        h = jax.image.resize(h, (b, 2 * p, 2 * q, c), "bilinear" if self.bug == "bilinear" else "nearest")
        h = self.up(jnp.concatenate([skip, h] if self.bug == "concat order" else [h, skip], -1), emb)
        h = self.norm_out(h)
        return self.conv_out(h if self.bug == "no act out" else jax.nn.silu(h))


TIME = "time_embed.0 time_embed"
RIGHT = {
    "freq shift": (TIME, "timestep-embedding"),
    "sin first": (TIME, "timestep-embedding"),
    "groups": ("down.norm1", "groups"),
    "eps": ("down.norm1", "epsilon"),
    "relu": ("down.conv1", "activation"),
    "no silu on time": ("down.time", "activation-missing"),
    "time scales": ("down.norm2", "operation"),
    "no scale": ("attn attn.proj", "attention-scale"),
    "no residual": ("attn up up.norm1", "residual"),
    "SAME": ("pool", "padding"),
    "bilinear": ("up up.norm1 up.skip", "interpolation"),
    "concat order": ("up up.norm1 up.skip", "concat-order"),
    "no act out": ("conv_out", "activation-missing"),
}
BUGS = ["", *RIGHT]


def make(bug=""):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(2, 3, 8, 8)).astype(np.float32), np.array([3, 17])
    return {"torch": UNet().eval(), "jax": JUNet(bug, nnx.Rngs(0)), "batch": (x, t, rng.normal(size=x.shape).astype(np.float32)),
            "loss": (lambda o, y: ((o - y) ** 2).mean(), lambda o, y: ((o.transpose(0, 3, 1, 2) - y.transpose(0, 3, 1, 2)) ** 2).mean())}  # fmt: skip
