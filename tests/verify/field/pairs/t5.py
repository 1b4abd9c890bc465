# ruff: noqa: E501 - written as people write it
"""A T5 encoder of two blocks: buckets of relative positions, RMSNorm, gated GELU, tied scaled head -> linen."""

import math

import flax.linen as fnn
import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

WIDTH, HEADS, HEAD, FF, VOCAB, BUCKETS, FAR = 16, 4, 4, 24, 23, 8, 12


class T5LayerNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))
        self.variance_epsilon = 1e-6

    def forward(self, x):
        variance = x.pow(2).mean(-1, keepdim=True)
        return self.weight * (x * torch.rsqrt(variance + self.variance_epsilon))


class T5Attention(nn.Module):
    def __init__(self, has_bias):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(WIDTH, HEADS * HEAD, bias=False) for _ in range(3))
        self.o = nn.Linear(HEADS * HEAD, WIDTH, bias=False)
        if has_bias:
            self.relative_attention_bias = nn.Embedding(BUCKETS, HEADS)

    @staticmethod
    def bucket(relative):
        count = BUCKETS // 2
        found = (relative > 0).to(torch.long) * count
        n = relative.abs()
        exact = count // 2
        large = exact + (torch.log(n.double().clamp(min=1) / exact) / math.log(FAR / exact) * (count - exact)).to(
            torch.long
        )
        large = torch.min(large, torch.full_like(large, count - 1))
        return found + torch.where(n < exact, n, large)

    def compute_bias(self, length):
        context, memory = torch.arange(length)[:, None], torch.arange(length)[None, :]
        return self.relative_attention_bias(self.bucket(memory - context)).permute(2, 0, 1).unsqueeze(0)

    def forward(self, x, mask, position_bias=None):
        b, n, _ = x.shape
        q, k, v = (f(x).view(b, n, HEADS, HEAD).transpose(1, 2) for f in (self.q, self.k, self.v))
        scores = q @ k.transpose(3, 2)
        if position_bias is None:
            position_bias = self.compute_bias(n) + mask
        scores = scores + position_bias
        weights = nn.functional.softmax(scores.float() if x.dtype == torch.float16 else scores, -1)
        return self.o((weights @ v).transpose(1, 2).reshape(b, n, -1)), position_bias


class T5DenseGatedActDense(nn.Module):
    def __init__(self):
        super().__init__()
        self.wi_0, self.wi_1 = nn.Linear(WIDTH, FF, bias=False), nn.Linear(WIDTH, FF, bias=False)
        self.wo, self.act = nn.Linear(FF, WIDTH, bias=False), nn.GELU(approximate="tanh")

    def forward(self, x):
        return self.wo(self.act(self.wi_0(x)) * self.wi_1(x))


class T5LayerSelfAttention(nn.Module):
    def __init__(self, has_bias):
        super().__init__()
        self.SelfAttention, self.layer_norm = T5Attention(has_bias), T5LayerNorm()

    def forward(self, x, mask, bias):
        out, bias = self.SelfAttention(self.layer_norm(x), mask, bias)
        return x + out, bias


class T5LayerFF(nn.Module):
    def __init__(self):
        super().__init__()
        self.DenseReluDense, self.layer_norm = T5DenseGatedActDense(), T5LayerNorm()

    def forward(self, x):
        return x + self.DenseReluDense(self.layer_norm(x))


class T5Block(nn.Module):
    def __init__(self, has_bias):
        super().__init__()
        self.layer = nn.ModuleList([T5LayerSelfAttention(has_bias), T5LayerFF()])

    def forward(self, x, mask, bias):
        x, bias = self.layer[0](x, mask, bias)
        return self.layer[1](x), bias


class T5(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared = nn.Embedding(VOCAB, WIDTH)
        self.block = nn.ModuleList([T5Block(True), T5Block(False)])
        self.final_layer_norm = T5LayerNorm()
        self.lm_head = nn.Linear(WIDTH, VOCAB, bias=False)
        self.lm_head.weight = self.shared.weight

    def forward(self, ids):
        mask = (1.0 - (ids != 0)[:, None, None, :].to(self.shared.weight.dtype)) * torch.finfo(torch.float32).min
        x, bias = self.shared(ids), None
        for block in self.block:
            x, bias = block(x, mask, bias)
        return self.lm_head(self.final_layer_norm(x) * WIDTH**-0.5)


class JNorm(fnn.Module):
    bug: str

    @fnn.compact
    def __call__(self, x):
        weight = self.param("weight", fnn.initializers.ones, (WIDTH,))
        if self.bug == "layernorm":
            x = x - x.mean(-1, keepdims=True)
        eps = 1e-5 if self.bug == "eps" else 1e-6
        return weight * (x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + eps))


def j_bucket(relative, bug):
    if bug == "unidirectional":
        relative, found, count = np.maximum(-relative, 0), 0, BUCKETS
    else:
        count = BUCKETS // 2
        found = (relative > 0) * count
        relative = np.abs(relative)
    far = 128 if bug == "max distance" else FAR
    exact = count // 2
    large = exact + (np.log(np.maximum(relative, 1) / exact) / np.log(far / exact) * (count - exact)).astype(int)
    return found + np.where(relative < exact, relative, np.minimum(large, count - 1))


class JAttention(fnn.Module):
    has_bias: bool
    bug: str

    @fnn.compact
    def __call__(self, x, mask, bias):
        b, n, _ = x.shape

        def project(name):
            y = fnn.Dense(HEADS * HEAD, use_bias=False, name=name)(x)
            return y.reshape(b, n, HEADS, HEAD)

        q, k, v = project("q"), project("k"), project("v")
        if self.bug == "scaled":
            q = q / np.sqrt(HEAD)
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k)
        if self.has_bias:
            at = np.arange(n)
            relative = at[:, None] - at[None, :] if self.bug == "bias sign" else at[None, :] - at[:, None]
            table = fnn.Embed(BUCKETS, HEADS, name="relative_attention_bias")
            bias = table(j_bucket(relative, self.bug)).transpose(2, 0, 1)[None]
            if self.bug != "mask missing":
                bias = bias + mask
        biased = self.has_bias or self.bug != "bias in the first block only"
        scores = scores + (bias if biased else mask)
        weights = jax.nn.softmax(scores, -1)
        out = jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(b, n, -1)
        return fnn.Dense(WIDTH, use_bias=False, name="o")(out), bias


class JBlock(fnn.Module):
    has_bias: bool
    bug: str

    @fnn.compact
    def __call__(self, x, mask, bias):
        h = JNorm(self.bug, name="layer_0_layer_norm")(x)
        out, bias = JAttention(self.has_bias, self.bug, name="layer_0_SelfAttention")(h, mask, bias)
        x = h + out if self.bug == "residual of the norm" else x + out
        h = JNorm(self.bug, name="layer_1_layer_norm")(x)
        gate = fnn.Dense(FF, use_bias=False, name="wi_0")(h)
        up = fnn.Dense(FF, use_bias=False, name="wi_1")(h)
        if self.bug == "gate swapped":
            gate, up = up, gate
        gate = fnn.relu(gate) if self.bug == "relu" else fnn.gelu(gate, approximate=self.bug != "gelu erf")
        h = gate if self.bug == "no gate" else gate * up
        return x + fnn.Dense(WIDTH, use_bias=False, name="wo")(h), bias


class JT5(fnn.Module):
    bug: str = ""

    @fnn.compact
    def __call__(self, ids):
        shared = fnn.Embed(VOCAB, WIDTH, name="shared")
        mask = jnp.where(ids != 0, 0.0, -1e9)[:, None, None, :]
        x, bias = shared(ids), None
        if self.bug == "embedding scaled":
            x = x * np.sqrt(WIDTH)
        for i in range(2):
            x, bias = JBlock(i == 0, self.bug, name=f"block_{i}")(x, mask, bias)
        x = JNorm(self.bug, name="final_layer_norm")(x)
        x = x if self.bug == "head unscaled" else x * WIDTH**-0.5
        return shared.attend(x)


SELF = "block.0.layer.0.SelfAttention block.0.layer.0.SelfAttention.o"
SECOND = "block.1.layer.0.SelfAttention block.1.layer.0.SelfAttention.o"
FFN = "block.0.layer.1.DenseReluDense block.0.layer.1.DenseReluDense.wo"
RIGHT = {
    "scaled": (SELF, "attention-scale"),
    "bias sign": (f"{SELF} block.0.layer.0.SelfAttention.relative_attention_bias", "index attention-bias"),
    "unidirectional": (f"{SELF} block.0.layer.0.SelfAttention.relative_attention_bias", "index attention-bias"),
    "max distance": (f"{SELF} block.0.layer.0.SelfAttention.relative_attention_bias", "index attention-bias"),
    "mask missing": (SELF, "mask"),
    "bias in the first block only": (SECOND, "attention-bias"),
    "layernorm": ("block.0.layer.0.layer_norm", "centring"),
    "eps": ("block.0.layer.0.layer_norm", "epsilon"),
    "residual of the norm": ("block.0.layer.0 block.0.layer.1.layer_norm", "residual"),
    "gate swapped": (FFN, "gate-order"),
    "relu": (f"{FFN} block.0.layer.1.DenseReluDense.act", "activation"),
    "gelu erf": (f"{FFN} block.0.layer.1.DenseReluDense.act", "gelu-form"),
    "no gate": (FFN, "gate-missing"),
    "embedding scaled": ("shared block.0.layer.0.layer_norm block.0", "scale"),
    "head unscaled": ("lm_head (model)", "scale"),
}
BUGS = ["", *RIGHT]


def make(bug=""):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    ids = rng.integers(1, VOCAB, (3, 9))
    ids[0, 6:], ids[2, 4:] = 0, 0
    return {"torch": T5().eval(), "jax": JT5(bug), "loss": "cross_entropy", "batch": (ids, rng.integers(0, VOCAB, (3, 9)))}  # fmt: skip
