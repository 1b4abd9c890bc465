"""ResNet-20, ViT and GPT once more, in NNX."""

import jax.numpy as jnp
from flax import nnx


class Basic(nnx.Module):
    def __init__(self, wide_in, wide, stride, rngs):
        self.conv1 = nnx.Conv(wide_in, wide, (3, 3), stride, padding=1, use_bias=False, rngs=rngs)
        self.bn1 = nnx.BatchNorm(wide, momentum=0.9, rngs=rngs)
        self.conv2 = nnx.Conv(wide, wide, (3, 3), padding=1, use_bias=False, rngs=rngs)
        self.bn2 = nnx.BatchNorm(wide, momentum=0.9, rngs=rngs)
        self.stride, self.extra = stride, wide - wide_in

    def __call__(self, x):
        h = self.bn2(self.conv2(nnx.relu(self.bn1(self.conv1(x)))))
        short = jnp.pad(x[:, :: self.stride, :: self.stride], ((0, 0), (0, 0), (0, 0), (0, self.extra)))
        return nnx.relu(h + short)


class ResNet20(nnx.Module):
    def __init__(self, rngs, classes=10):
        self.conv = nnx.Conv(3, 16, (3, 3), padding=1, use_bias=False, rngs=rngs)
        self.bn = nnx.BatchNorm(16, momentum=0.9, rngs=rngs)
        widths = [(16, 16, 1), *[(16, 16, 1)] * 2, (16, 32, 2), *[(32, 32, 1)] * 2, (32, 64, 2), *[(64, 64, 1)] * 2]
        self.blocks = nnx.List([Basic(*w, rngs) for w in widths])
        self.fc = nnx.Linear(64, classes, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.bn(self.conv(x)))
        for block in self.blocks:
            x = block(x)
        return self.fc(x.mean((1, 2)))


class Layer(nnx.Module):
    def __init__(self, width, heads, rngs, causal=False):
        self.ln1 = nnx.LayerNorm(width, epsilon=1e-5, rngs=rngs)
        self.ln2 = nnx.LayerNorm(width, epsilon=1e-5, rngs=rngs)
        self.attn = nnx.MultiHeadAttention(heads, width, decode=False, rngs=rngs)
        self.fc1, self.fc2 = nnx.Linear(width, 4 * width, rngs=rngs), nnx.Linear(4 * width, width, rngs=rngs)
        self.causal = causal

    def __call__(self, x):
        mask = nnx.make_causal_mask(jnp.ones(x.shape[:2])) if self.causal else None
        x = x + self.attn(self.ln1(x), mask=mask)
        return x + self.fc2(nnx.gelu(self.fc1(self.ln2(x)), approximate=self.causal))


class Vit(nnx.Module):
    def __init__(self, rngs, width=48, depth=3, patches=16, classes=10):
        self.patch = nnx.Conv(3, width, (4, 4), 4, padding="VALID", rngs=rngs)
        self.cls = nnx.Param(0.02 * rngs.params.normal((1, 1, width)))
        self.pos = nnx.Param(0.02 * rngs.params.normal((1, patches + 1, width)))
        self.layers = nnx.List([Layer(width, 4, rngs) for _ in range(depth)])
        self.ln = nnx.LayerNorm(width, epsilon=1e-5, rngs=rngs)
        self.head = nnx.Linear(width, classes, rngs=rngs)

    def __call__(self, x):
        x = self.patch(x)
        x = x.reshape(len(x), -1, x.shape[-1])
        x = jnp.concatenate([jnp.broadcast_to(self.cls[...], (len(x), 1, x.shape[-1])), x], 1) + self.pos[...]
        for layer in self.layers:
            x = layer(x)
        return self.head(self.ln(x)[:, 0])


class Gpt(nnx.Module):
    def __init__(self, rngs, words=37, width=48, depth=3, length=12):
        self.wte, self.wpe = nnx.Embed(words, width, rngs=rngs), nnx.Embed(length, width, rngs=rngs)
        self.h = nnx.List([Layer(width, 4, rngs, causal=True) for _ in range(depth)])
        self.ln_f = nnx.LayerNorm(width, epsilon=1e-5, rngs=rngs)

    def __call__(self, tokens):
        x = self.wte(tokens) + self.wpe(jnp.arange(tokens.shape[1]))[None]
        for layer in self.h:
            x = layer(x)
        return self.wte.attend(self.ln_f(x))


class Tagger(nnx.Module):
    def __init__(self, rngs, words=37, width=16, hidden=24, tags=5):
        self.embed = nnx.Embed(words, width, rngs=rngs)
        self.lower = nnx.RNN(nnx.OptimizedLSTMCell(width, hidden, rngs=rngs), rngs=rngs)
        self.upper = nnx.RNN(nnx.OptimizedLSTMCell(hidden, hidden, rngs=rngs), rngs=rngs)
        self.tag = nnx.Linear(hidden, tags, rngs=rngs)

    def __call__(self, tokens):
        return self.tag(self.upper(self.lower(self.embed(tokens))))
