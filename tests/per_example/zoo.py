"""Models that per-example gradients must be exact on, in plain JAX, linen and NNX: float64, three examples."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

__all__ = ["ZOO", "Model"]

D: dict[str, Any] = {"param_dtype": jnp.float64}


class Model(NamedTuple):
    """A loss of one example, its parameters, and a batch."""

    loss: Callable[..., Any]
    params: Any
    batch: tuple[Any, ...]


def draw(*shape: int, seed: int = 0, scale: float = 1.0) -> Any:
    return jnp.asarray(np.random.default_rng([seed, *shape]).normal(size=shape) * scale)


def fill(shapes: Any) -> Any:
    """Draw every leaf, so that none stands at the constant it is initialised with."""
    leaves, structure = jax.tree.flatten(shapes)
    return structure.unflatten([draw(*leaf.shape, seed=i, scale=0.5) for i, leaf in enumerate(leaves)])


def ids(*shape: int, high: int) -> Any:
    return jnp.asarray(np.random.default_rng(0).integers(0, high, size=shape), jnp.int32)


def wave(out: Any) -> Any:
    """A loss whose cotangents are all different."""
    return jnp.sum(jnp.sin(out))


def linen(module: nn.Module, x: Any) -> Model:
    example = jax.ShapeDtypeStruct(x.shape[1:], x.dtype)
    params = fill(jax.eval_shape(lambda x: module.init(jax.random.key(0), x), example))
    return Model(lambda p, x: wave(module.apply(p, x)), params, (x,))


class CNN(nn.Module):
    """Strided, dilated and grouped, depthwise and transposed convolutions, with a GroupNorm."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.GroupNorm(2, **D)(nn.Conv(4, (3, 3), strides=2, **D)(x)))
        x = jnp.tanh(nn.Conv(4, (3, 2), feature_group_count=2, kernel_dilation=2, **D)(x))
        x = jnp.tanh(nn.Conv(8, (2, 3), feature_group_count=4, padding="VALID", **D)(x))
        x = jnp.tanh(nn.ConvTranspose(3, (3, 3), strides=(2, 2), **D)(x))
        return nn.Dense(2, **D)(x.reshape(-1))


class Block(nn.Module):
    """Attention and a dense layer, each behind a norm."""

    @nn.compact
    def __call__(self, x):
        y = nn.LayerNorm(**D)(x)
        x = x + nn.MultiHeadDotProductAttention(2, **D)(y, y, mask=nn.make_causal_mask(jnp.ones(x.shape[0])))
        return x + nn.Dense(x.shape[-1], **D)(nn.gelu(nn.Dense(6, **D)(nn.RMSNorm(**D)(x))))


class LanguageModel(nn.Module):
    """A tied embedding, a positional table that is longer than the text, and one block applied twice."""

    @nn.compact
    def __call__(self, tokens):
        embed, table = nn.Embed(7, 4, **D), self.param("table", nn.initializers.normal(), (6, 4), jnp.float64)
        x, block = embed(tokens) + table[: tokens.shape[0]], Block()
        return embed.attend(block(block(x)))


class Cell(nn.Module):
    """One layer of a stack."""

    @nn.compact
    def __call__(self, x, _):
        return x + jnp.tanh(nn.Dense(x.shape[-1], **D)(x)), None


class Stack(nn.Module):
    """Layers stacked along an axis by ``nn.scan``, recomputed in the backward pass or not."""

    remat: bool = False

    @nn.compact
    def __call__(self, x):
        cell = nn.remat(Cell) if self.remat else Cell
        layers = nn.scan(cell, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        return layers()(x, None)[0]


class Recurrent(nn.Module):
    """A cell over time, and a readout at every step."""

    cell: Any

    @nn.compact
    def __call__(self, x):
        return nn.Dense(2, **D)(nn.RNN(self.cell(3, **D))(x))


class NNXNet(nnx.Module):
    """An NNX network over positions."""

    def __init__(self, rngs):
        self.first = nnx.Linear(4, 5, rngs=rngs, **D)
        self.norm = nnx.LayerNorm(5, rngs=rngs, **D)
        self.last = nnx.Linear(5, 2, rngs=rngs, **D)

    def __call__(self, x):
        return self.last(jnp.tanh(self.norm(self.first(x))))


def nnx_model() -> Model:
    graph, shapes = nnx.split(nnx.eval_shape(lambda: NNXNet(nnx.Rngs(0))), nnx.Param)
    return Model(lambda p, x: wave(nnx.merge(graph, p)(x)), fill(shapes), (draw(3, 4, 4),))


def plain(loss: Callable[..., Any], shapes: dict[str, tuple[int, ...]], *batch: Any) -> Model:
    params = {name: draw(*shape, seed=i, scale=0.5) for i, (name, shape) in enumerate(shapes.items())}
    return Model(loss, params, batch)


def dense(p: Any, x: Any) -> Any:
    return wave(jnp.tanh(x @ p["a"] + p["c"]) @ p["b"].T)


def heads(p: Any, x: Any) -> Any:
    return wave(jnp.einsum("hte,ehf->tf", jnp.tanh(jnp.einsum("td,hde->hte", x, p["a"])), p["b"]))


def experts(p: Any, x: Any) -> Any:
    gates = jax.nn.softmax(x @ p["gate"], axis=-1)
    out = jnp.einsum("etd,edf->tef", jnp.broadcast_to(x[None], (3, *x.shape)), p["experts"])
    return wave(jnp.einsum("te,tef->tf", gates, out))


def lora(p: Any, x: Any) -> Any:
    return wave(x @ p["w"] + (x @ p["a"]) @ p["b"]) + wave(x @ (p["w"] + p["a"] @ p["b"]))


def weight_normalised(p: Any, x: Any) -> Any:
    return wave(x @ (p["g"][None] * p["v"] / jnp.linalg.norm(p["v"], axis=0, keepdims=True)))


def nested_scan(p: Any, x: Any) -> Any:
    """Stacked layers over a recurrence that shares its weight over time, recomputed."""

    @jax.checkpoint
    def layer(h, w):
        def step(c, xt):
            c = jnp.tanh(xt @ w + c @ p["u"])
            return c, c

        return jax.lax.scan(step, jnp.zeros(w.shape[0]), h)[1], None

    return wave(jax.lax.scan(layer, x, p["w"])[0])


def lookups(p: Any, tokens: Any) -> Any:
    """Repeated, negative and out-of-range rows, a table used twice, and a row taken by a scalar."""
    rows = jnp.take(p["table"], tokens, axis=0, mode="clip") * 1.5
    columns = jnp.take(p["table"], jnp.array([0, 9, 0]), axis=0, fill_value=0.0)
    return wave(rows) + wave(columns @ p["w"]) + wave(p["table"][tokens[0] % 3])


def tapped(p: Any, x: Any) -> Any:
    """Weights inside of operations without a rule: cond, cumsum, a custom rule, a sum of two weights."""
    w = jax.lax.cond(x[0] > 0, lambda a: 2.0 * a, lambda a: a, p["a"]) + p["b"].T
    return wave(x @ jnp.cumsum(w, axis=0)) + wave(clipped(p["c"]) * x[:2]) + 0.0 * jnp.sum(p["idle"][:1])


@jax.custom_vjp
def clipped(x: Any) -> Any:
    return jnp.clip(x, -0.5, 0.5)


clipped.defvjp(lambda x: (clipped(x), x), lambda _, g: (2 * g,))


ZOO: dict[str, Callable[[], Model]] = {
    "dense on vectors": lambda: plain(dense, {"a": (4, 3), "b": (2, 3), "c": (3,)}, draw(3, 4)),
    "dense on four axes": lambda: linen(nn.Dense(3, **D), draw(3, 2, 3, 2, 4)),
    "convolutions": lambda: linen(CNN(), draw(3, 7, 7, 2)),
    "language model": lambda: linen(LanguageModel(), ids(3, 5, high=7)),
    "stack": lambda: linen(Stack(), draw(3, 4)),
    "stack over positions": lambda: linen(Stack(), draw(3, 5, 4)),
    "recomputed stack": lambda: linen(Stack(remat=True), draw(3, 2, 4)),
    "lstm": lambda: linen(Recurrent(nn.LSTMCell), draw(3, 5, 2)),
    "lstm, joined weights": lambda: linen(Recurrent(nn.OptimizedLSTMCell), draw(3, 5, 2)),
    "gru": lambda: linen(Recurrent(nn.GRUCell), draw(3, 5, 2)),
    "nnx": nnx_model,
    "heads": lambda: plain(heads, {"a": (3, 5, 4), "b": (4, 3, 2)}, draw(3, 6, 5)),
    "experts": lambda: plain(experts, {"gate": (4, 3), "experts": (3, 4, 2)}, draw(3, 5, 4)),
    "lora": lambda: plain(lora, {"w": (5, 4), "a": (5, 2), "b": (2, 4)}, draw(3, 6, 5)),
    "weight normalised": lambda: plain(weight_normalised, {"v": (5, 4), "g": (4,)}, draw(3, 5)),
    "scan in scan": lambda: plain(nested_scan, {"w": (2, 3, 3), "u": (3, 3)}, draw(3, 4, 3)),
    "lookups": lambda: plain(lookups, {"table": (7, 3), "w": (3, 2)}, ids(3, 5, high=9)),
    "without a rule": lambda: plain(tapped, {"a": (4, 3), "b": (3, 4), "c": (2,), "idle": (5,)}, draw(3, 4)),
}
