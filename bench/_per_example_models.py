"""The networks of the rows of ``per_example``: losses of ONE example, in JAX and, where it can, in torch."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import torch

from bench import _modules
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params, mlp_torch

__all__ = ["Network", "cnn", "language_model", "lstm", "mlp", "stack", "transformer"]


class Network(NamedTuple):
    """A loss of one example, its parameters, and a batch, as NumPy."""

    loss: Callable[..., Any]
    params: Any
    batch: tuple[np.ndarray, ...]
    loss_torch: Callable[..., Any] | None = None
    chunk: int | None = None
    """The chunk in which the plain gradient is fastest on a CPU; ``None``: the whole batch."""
    module_torch: Callable[[Any], Any] | None = None
    """Makes a torch module of the parameters, for the rivals that work on modules."""


def cross_entropy(logits: Any, y: Any) -> Any:
    """Return the cross-entropy with a one-hot label."""
    return -jnp.sum(y * jax.nn.log_softmax(logits))


def cross_entropy_torch(logits: Any, y: Any) -> Any:
    """Return the cross-entropy with a one-hot label, in torch."""
    return -(y * torch.log_softmax(logits, -1)).sum()


def labels(batch: int, classes: int) -> np.ndarray:
    """Return one-hot labels, all classes in turn."""
    return np.eye(classes)[np.arange(batch) % classes]


def mlp(sizes: tuple[int, ...], batch: int) -> Network:
    """A ReLU network."""
    rng = np.random.default_rng(0)
    return Network(
        lambda p, x, y: cross_entropy(mlp_jax(p, x, jax.nn.relu), y),
        mlp_params(sizes, 0),
        (rng.normal(size=(batch, sizes[0])), labels(batch, sizes[-1])),
        lambda p, x, y: cross_entropy_torch(mlp_torch(p, x, torch.relu), y),
        module_torch=_modules.Dense,
    )


def conv(x: Any, kernel: Any, bias: Any) -> Any:
    """Convolve one image, channels last; the kernel comes in torch's order."""
    out = jax.lax.conv_general_dilated(x[None], kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "OIHW", "NHWC"))
    return jax.nn.relu(out[0] + bias[None, None])


def pool(x: Any) -> Any:
    """Take the maximum of two by two pixels as that of four slices, whose gradient is fast on a CPU."""
    a, b = jnp.maximum(x[0::2], x[1::2])[:, 0::2], jnp.maximum(x[0::2], x[1::2])[:, 1::2]
    return jnp.maximum(a, b)


def cnn_loss(p: Any, x: Any, y: Any) -> Any:
    """Two convolutions and two dense layers, in JAX."""
    x = pool(conv(x, p["conv0"]["weight"], p["conv0"]["bias"]))
    x = pool(conv(x, p["conv1"]["weight"], p["conv1"]["bias"]))
    return cross_entropy(mlp_jax(p["head"], x.transpose(2, 0, 1).reshape(-1), jax.nn.relu), y)


def cnn_loss_torch(p: Any, x: Any, y: Any) -> Any:
    """Two convolutions and two dense layers, in torch."""
    x = x.permute(2, 0, 1)[None]
    for name in ("conv0", "conv1"):
        x = torch.nn.functional.conv2d(x, p[name]["weight"], p[name]["bias"], padding=1)
        x = torch.nn.functional.max_pool2d(torch.relu(x), 2)
    return cross_entropy_torch(mlp_torch(p["head"], x.reshape(-1), torch.relu), y)


def cnn(side: int, channels: tuple[int, int], hidden: int, batch: int) -> Network:
    """The CNN on square grey images."""
    rng = np.random.default_rng(0)
    first, second = channels
    params = {
        "conv0": {"weight": rng.normal(size=(first, 1, 3, 3)) / 3, "bias": rng.normal(size=first) / 9},
        "conv1": {
            "weight": rng.normal(size=(second, first, 3, 3)) / math.sqrt(9 * first),
            "bias": rng.normal(size=second) / 9,
        },
        "head": mlp_params((second * (side // 4) ** 2, hidden, 10), 0),
    }
    data = (rng.normal(size=(batch, side, side, 1)), labels(batch, 10))
    return Network(cnn_loss, params, data, cnn_loss_torch, module_torch=_modules.Convolutional)


def encode(p: Any, x: Any, lib: Any, heads: int) -> Any:
    """Apply the encoder to one text of vectors; ``lib`` has the three operations that the frameworks spell apart."""
    for name in sorted(p["blocks"]):
        block, (length, width) = p["blocks"][name], x.shape
        y = lib.norm(x) * lib.row(block["scale0"])
        q, k, v = (lib.swap((y @ block[w]).reshape(length, heads, width // heads)) for w in ("q", "k", "v"))
        weights = lib.softmax(q @ lib.last_two(k) / math.sqrt(width // heads))
        x = x + lib.swap(weights @ v).reshape(length, width) @ block["o"]
        y = lib.norm(x) * lib.row(block["scale1"])
        x = x + lib.relu(y @ block["up"] + lib.row(block["bias"])) @ block["down"]
    return x.mean(0) @ p["readout"]


class InJax:
    """The operations of `encode` in JAX."""

    swap = staticmethod(lambda x: jnp.swapaxes(x, 0, 1))
    last_two = staticmethod(lambda x: jnp.swapaxes(x, -1, -2))
    softmax = staticmethod(lambda x: jax.nn.softmax(x, -1))
    relu = staticmethod(jax.nn.relu)
    row = staticmethod(lambda x: x[None])
    norm = staticmethod(lambda x: (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5))


class InTorch:
    """The operations of `encode` in torch."""

    swap = staticmethod(lambda x: x.transpose(0, 1))
    last_two = staticmethod(lambda x: x.transpose(-1, -2))
    softmax = staticmethod(lambda x: torch.softmax(x, -1))
    relu = staticmethod(torch.relu)
    row = staticmethod(lambda x: x[None])
    norm = staticmethod(
        lambda x: (x - x.mean(-1, keepdim=True)) * (x.var(-1, keepdim=True, correction=0) + 1e-5).rsqrt()
    )


def transformer(layers: int, width: int, length: int, batch: int, heads: int = 4) -> Network:
    """A transformer encoder on texts of vectors."""
    rng = np.random.default_rng(0)

    def weight(a: int, b: int) -> np.ndarray:
        return rng.normal(size=(a, b)) / math.sqrt(a)

    def block() -> dict[str, np.ndarray]:
        square = {name: weight(width, width) for name in "qkvo"}
        scales = {name: 1 + rng.normal(size=width) / 9 for name in ("scale0", "scale1")}
        wide = {
            "up": weight(width, 4 * width),
            "bias": rng.normal(size=4 * width) / 9,
            "down": weight(4 * width, width),
        }
        return {**square, **scales, **wide}

    params = {"blocks": {f"block{i}": block() for i in range(layers)}, "readout": weight(width, 10)}
    return Network(
        lambda p, x, y: cross_entropy(encode(p, x, InJax, heads), y),
        params,
        (rng.normal(size=(batch, length, width)), labels(batch, 10)),
        lambda p, x, y: cross_entropy_torch(encode(p, x, InTorch, heads), y),
        chunk=8,
    )


def linen_network(module: nn.Module, x: np.ndarray, loss_of: Callable[[Any, Any], Any]) -> Network:
    """Initialise a linen module for the batch ``x``."""
    params = module.init(jax.random.key(0), jnp.asarray(x[0]))
    return Network(lambda p, x: loss_of(module.apply(p, x), x), jax.tree.map(np.asarray, params), (x,))


class TiedModel(nn.Module):
    """A language model whose embedding is its head, with one block applied twice."""

    vocabulary: int
    width: int

    @nn.compact
    def __call__(self, tokens: Any) -> Any:
        """Return the logits of the next token at every position."""
        embed = nn.Embed(self.vocabulary, self.width)
        x, up, down, norm = embed(tokens), nn.Dense(4 * self.width), nn.Dense(self.width), nn.LayerNorm()
        attention = nn.MultiHeadDotProductAttention(4)
        mask = nn.make_causal_mask(tokens)
        for _ in range(2):
            y = norm(x)
            x = x + attention(y, y, mask=mask)
            x = x + down(nn.gelu(up(norm(x))))
        return embed.attend(x)


def language_model(vocabulary: int, width: int, length: int, batch: int) -> Network:
    """A tied language model on random tokens."""
    tokens = np.random.default_rng(0).integers(0, vocabulary, size=(batch, length)).astype(np.int32)

    def next_token(logits: Any, tokens: Any) -> Any:
        scores = jax.nn.log_softmax(logits[:-1])
        return -jnp.mean(jnp.take_along_axis(scores, tokens[1:, None], axis=-1))

    return linen_network(TiedModel(vocabulary, width), tokens, next_token)


class Recurrent(nn.Module):
    """An LSTM over time."""

    width: int

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """Return a number for every step."""
        # the carry begins in the dtype of the cell's parameters
        return nn.Dense(1)(nn.RNN(nn.OptimizedLSTMCell(self.width, param_dtype=x.dtype))(x))


def lstm(width: int, length: int, batch: int) -> Network:
    """An LSTM on random series."""
    x = np.random.default_rng(0).normal(size=(batch, length, width))
    return linen_network(Recurrent(width), x, lambda out, _: jnp.mean(out**2))


class Layer(nn.Module):
    """One layer of the stack."""

    @nn.compact
    def __call__(self, x: Any, _: Any) -> Any:
        """Add a dense layer."""
        return x + nn.gelu(nn.Dense(x.shape[-1])(x)), None


class Stack(nn.Module):
    """Layers stacked by ``nn.scan``."""

    layers: int

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """Apply all layers."""
        scanned = nn.scan(Layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=self.layers)
        return scanned()(x, None)[0]


def stack(layers: int, width: int, batch: int) -> Network:
    """A stack of scanned layers on vectors."""
    x = np.random.default_rng(0).normal(size=(batch, width))
    return linen_network(Stack(layers), x, lambda out, _: jnp.mean(out**2))
