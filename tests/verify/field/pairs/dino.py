"""DINO: a small vision transformer with a class token, a head with weight norm, and the loss of a student -> linen."""

import flax.linen as fnn
import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn
from torch.nn import functional

WIDTH, HEADS, OUT = 12, 2, 9


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, HEADS, c // HEADS).permute(2, 0, 3, 1, 4)
        attn = ((q @ k.transpose(-2, -1)) * (c // HEADS) ** -0.5).softmax(-1)
        return self.proj((attn @ v).transpose(1, 2).reshape(b, n, c))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.attn, self.norm2 = nn.LayerNorm(WIDTH, eps=1e-6), Attention(), nn.LayerNorm(WIDTH, eps=1e-6)
        self.fc1, self.act, self.fc2 = nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(self.act(self.fc1(self.norm2(x))))


class DINOHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 16), nn.GELU(), nn.Linear(16, 8))
        self.last_layer = nn.utils.weight_norm(nn.Linear(8, OUT, bias=False))
        self.last_layer.weight_g.data.fill_(1)
        self.last_layer.weight_g.requires_grad = False

    def forward(self, x):
        return self.last_layer(functional.normalize(self.mlp(x), dim=-1, p=2))


class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, WIDTH, 4, 4)
        self.cls_token = nn.Parameter(torch.randn(1, 1, WIDTH) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, 5, WIDTH) * 0.02)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.norm, self.head = nn.LayerNorm(WIDTH, eps=1e-6), DINOHead()

    def forward(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class JBlock(fnn.Module):
    bug: str

    @fnn.compact
    def __call__(self, x):
        eps = 1e-5 if self.bug == "eps" else 1e-6
        b, n, c = x.shape
        h = fnn.LayerNorm(epsilon=eps, name="norm1")(x)
        q, k, v = jnp.split(fnn.Dense(3 * WIDTH, name="qkv")(h), 3, -1)
        if self.bug == "head layout":
            q, k, v = (m.reshape(b, n, c // HEADS, HEADS).transpose(0, 3, 1, 2) for m in (q, k, v))
        else:
            q, k, v = (m.reshape(b, n, HEADS, c // HEADS).transpose(0, 2, 1, 3) for m in (q, k, v))
        if self.bug == "q and k swapped":
            q, k = k, q
        weights = jax.nn.softmax((q @ k.swapaxes(-1, -2)) * (c // HEADS) ** -0.5, -1)
        h = (weights @ v).transpose(0, 2, 1, 3).reshape(b, n, c)
        x = x + fnn.Dense(WIDTH, name="proj")(h)
        h = fnn.LayerNorm(epsilon=eps, name="norm2")(x)
        h = fnn.Dense(WIDTH, name="fc2")(fnn.gelu(fnn.Dense(2 * WIDTH, name="fc1")(h), approximate=self.bug == "gelu"))
        return h if self.bug == "no residual" else x + h


class JStudent(fnn.Module):
    bug: str = ""

    @fnn.compact
    def __call__(self, x):
        bug = self.bug
        x = fnn.Conv(WIDTH, (4, 4), (4, 4), name="patch_embed")(x)
        x = (x.transpose(0, 2, 1, 3) if bug == "patches transposed" else x).reshape(len(x), -1, WIDTH)
        cls = self.param("cls_token", fnn.initializers.normal(0.02), (1, 1, WIDTH))
        pos = self.param("pos_embed", fnn.initializers.normal(0.02), (1, 5, WIDTH))
        cls = jnp.broadcast_to(cls, (len(x), 1, WIDTH))
        x = jnp.concatenate([x, cls] if bug == "class token last" else [cls, x], 1) + pos
        for i in range(2):
            x = JBlock(bug, name=f"blocks_{i}")(x)
        x = fnn.LayerNorm(epsilon=1e-6, name="norm")(x)
        x = x.mean(1) if bug == "mean of tokens" else x[:, 0]
        x = fnn.gelu(fnn.Dense(16, name="head_mlp_0")(x), approximate=False)
        x = fnn.Dense(8, name="head_mlp_2")(x)
        if bug != "no normalise":
            norm = jnp.sqrt((x**2).sum(-1, keepdims=True) + (1e-2 if bug == "normalise eps" else 0))
            x = x / norm
        v = self.param("last_layer_v", fnn.initializers.lecun_normal(), (8, OUT))
        g = self.param("last_layer_g", fnn.initializers.ones, (OUT,))
        return x @ (g * v / jnp.linalg.norm(v, axis=1 if bug == "weight norm axis" else 0, keepdims=True))


TEACHER = np.random.default_rng(5).normal(size=(3, OUT)).astype(np.float32)


def torch_loss(student, teacher):
    target = functional.softmax(teacher / 0.04, -1).detach()
    return -(target * functional.log_softmax(student / 0.1, -1)).sum(-1).mean()


def jax_loss(bug):
    def loss(student, teacher):
        sharp = 0.07 if bug == "teacher temperature" else 0.04
        target = jax.nn.softmax(teacher / sharp, -1)
        parts = -(target * jax.nn.log_softmax(student / 0.1, -1)).sum(-1)
        return parts.sum() if bug == "loss summed" else parts.mean()

    return loss


ATTENTION = "blocks.0.attn blocks.0.attn.proj"
RIGHT = {
    "eps": ("blocks.0.norm1", "epsilon"),
    "head layout": (ATTENTION, "head-order"),
    "q and k swapped": (ATTENTION, "qkv-order"),
    "gelu": ("blocks.0.act blocks.0.fc2", "gelu-form"),
    "no residual": ("blocks.0 blocks.1.norm1 blocks.1", "residual"),
    "patches transposed": ("blocks.0 blocks.0.norm1 patch_embed", "axis-order"),
    "class token last": ("blocks.0 blocks.0.norm1", "concat-order"),
    "mean of tokens": ("head head.mlp.0", "pool-kind"),
    "no normalise": ("head.last_layer head", "normalise"),
    "normalise eps": ("head.last_layer head", "epsilon"),
    "weight norm axis": ("head.last_layer head (model)", "weight-norm"),
    "teacher temperature": ("loss", "temperature"),
    "loss summed": ("loss", "reduction"),
}
BUGS = ["", *RIGHT]


def make(bug=""):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    return {"torch": Student().eval(), "jax": JStudent(bug), "loss": (torch_loss, jax_loss(bug)),
            "batch": (rng.normal(size=(3, 3, 8, 8)).astype(np.float32), TEACHER)}  # fmt: skip
