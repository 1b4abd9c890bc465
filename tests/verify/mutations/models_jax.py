"""The four networks of the catalogue in linen; every option is a difference that a port can have."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class TransposedDense(nn.Module):
    """A square dense layer that uses its kernel transposed."""

    features: int

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features))
        return x @ kernel.T + self.param("bias", nn.initializers.zeros, (self.features,))


class OtherNorm(nn.Module):
    """A layer norm with another variance, or without the mean."""

    ddof: int = 0
    centre: bool = True

    @nn.compact
    def __call__(self, x):
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        centred = x - x.mean(-1, keepdims=True) if self.centre else x
        power = (centred**2).sum(-1, keepdims=True) / (x.shape[-1] - self.ddof)
        return centred / jnp.sqrt(power + 1e-5) * scale + bias


class StoppedDense(nn.Module):
    """A dense layer whose kernel gets no gradient."""

    features: int

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features))
        return x @ jax.lax.stop_gradient(kernel) + self.param("bias", nn.initializers.zeros, (self.features,))


class Mlp(nn.Module):
    opt: Any = None

    @nn.compact
    def __call__(self, x):
        o = self.opt or {}
        if "clip" in o:
            x = jnp.clip(x, -1.0, 1.0)
        h = o.get("act", lambda a: nn.gelu(a, approximate=False))(nn.Dense(16, name="fc1")(x))
        h = h + o.get("offset", 0.0)
        norm = o.get("ln", nn.LayerNorm)(name="ln", **o.get("ln_args", {"epsilon": 1e-5, "use_fast_variance": False}))
        fc2 = o.get("fc2", nn.Dense)(16, name="fc2", **o.get("fc2_args", {}))
        normed = norm(h)
        h = o.get("residual", lambda h, normed, out: h + out)(h, normed, fc2(normed))
        if "max" in o:
            h = h - h.max(axis=0, keepdims=True)
        return o.get("out", lambda y: y)(o.get("head", nn.Dense)(3, name="head", **o.get("head_args", {}))(h))


class OtherConv(nn.Module):
    """A 3 x 3 convolution with its kernel changed on the way."""

    features: int
    change: Any

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (3, 3, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        y = jax.lax.conv_general_dilated(
            x, self.change(kernel), (1, 1), [(1, 1), (1, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return y + bias


def max_pool(x):
    return nn.max_pool(x, (2, 2), (2, 2))


class Cnn(nn.Module):
    opt: Any = None

    @nn.compact
    def __call__(self, x):
        o = self.opt or {}
        x = o.get("input", lambda x: x)(x)
        if "conv1" in o:
            h = OtherConv(8, o["conv1"], name="conv1")(x)
        else:
            h = nn.Conv(8, (3, 3), padding=o.get("padding1", 1), name="conv1")(x)
        h = nn.BatchNorm(
            **{"use_running_average": True, "epsilon": 1e-5, "momentum": 0.9, **o.get("bn", {})}, name="bn"
        )(h)
        h = o.get("pool", max_pool)(o.get("act", nn.relu)(h))
        h = nn.Conv(8, (3, 3), strides=2, padding=o.get("padding2", 1), name="conv2")(h)
        h = nn.relu(nn.GroupNorm(**{"num_groups": 4, "epsilon": 1e-5, **o.get("gn", {})}, name="gn")(h))
        return nn.Dense(4, name="fc")(h.reshape(len(h), -1))


def attention(o):
    """Return flax's attention function with its scores or mask changed."""

    def attend(query, key, value, bias=None, mask=None, **_):
        scale = o.get("scale", lambda d: d**-0.5)(query.shape[-1])
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) * scale
        if mask is not None:
            scores = jnp.where(mask, scores, -1e30)
        weights = jax.nn.softmax(scores, axis=o.get("axis", -1))
        return jnp.einsum("bhqk,bkhd->bqhd", weights, value)

    return attend


class Block(nn.Module):
    opt: Any = None

    @nn.compact
    def __call__(self, x):
        o = self.opt or {}
        eps = o.get("eps", 1e-5)
        mask = o["mask"](x.shape[1]) if "mask" in o else None
        h = x if o.get("post_norm") else nn.LayerNorm(eps, name="ln1")(x)
        a = nn.MultiHeadDotProductAttention(o.get("heads", 4), name="attn", attention_fn=attention(o))(h, mask=mask)
        if o.get("post_norm"):
            a = nn.LayerNorm(eps, name="ln1")(a)
        x = a if o.get("no_residual") else x + a
        h = nn.Dense(32, name="fc1")(nn.LayerNorm(o.get("eps2", eps), name="ln2")(x))
        h = o.get("act", lambda a: nn.gelu(a, approximate=False))(h)
        return x + nn.Dense(16, name="fc2")(h) * o.get("branch", 1.0)


class Transformer(nn.Module):
    opt: Any = None

    @nn.compact
    def __call__(self, tokens):
        o = self.opt or {}
        embed = nn.Embed(11, 16, name="embed")
        tokens = o.get("tokens", lambda t: t)(tokens)
        pos = self.param("pos", nn.initializers.normal(), (7, 16))
        x = embed(tokens) * o.get("embed_scale", 1.0) + o.get("positions", lambda p: p)(pos)
        for i in range(2):
            x = Block({**o.get("all", {}), **o.get(f"block{i}", {})}, name=f"blocks_{i}")(x)
        x = nn.LayerNorm(o.get("final_eps", 1e-5), name="norm")(x)
        if o.get("tied") == "attend":
            return embed.attend(x)
        if o.get("tied") == "stopped":
            return x @ jax.lax.stop_gradient(embed.embedding).T
        return nn.Dense(11, use_bias=False, name="head")(x) * o.get("logits", 1.0)


class Tagger(nn.Module):
    opt: Any = None

    @nn.compact
    def __call__(self, tokens):
        o = self.opt or {}
        x = nn.Embed(11, 8, name="embed")(tokens)
        cell = {"lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell}[o.get("cell", "lstm")](12, **o.get("cell_args", {}))
        start = o.get("start")
        one = jnp.ones((len(x), 12), x.dtype)
        carry = None if start is None else (start * one, start * one)
        h = nn.RNN(cell, name="rnn", reverse=o.get("reverse", False), keep_order=True)(x, initial_carry=carry)
        return nn.Dense(4, name="head")(o.get("out", lambda h: h)(h))
