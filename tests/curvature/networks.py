"""Networks that use their weights in many ways, of ONE example, in both frameworks; torch says what enters each use."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from jaxgrad.verify._bridge import to_jax, to_torch

__all__ = ["NETWORKS", "Network", "chain", "chain_torch"]


class Network(NamedTuple):
    """A model of one example in both frameworks, its weights and a batch, float64."""

    model: Callable[..., Any]
    model_torch: Callable[..., Any]
    """Returns the outputs, and by path what enters and leaves every use."""
    params: Any
    batch: tuple[Any, ...]
    params_torch: Any
    batch_torch: tuple[Any, ...]
    output_loss: str
    transposed: tuple[str, ...] = ()
    """The leaves that are stored as ``(out, in)``."""


class Uses(dict):
    """Notes what enters and leaves the uses of weights, position by position."""

    def dense(self, path, x, weight):
        entering = x.reshape(-1, x.shape[-1])
        leaving = entering @ weight
        self.setdefault(path, []).append((entering, leaving))
        return leaving.reshape(*x.shape[:-1], weight.shape[1])


def draw(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def network(model, model_torch, shapes, batch, output_loss, transposed=()):
    params = {path: draw(*shape, seed=i) * 0.7 for i, (path, shape) in enumerate(shapes.items())}
    return Network(
        model, model_torch, to_jax(params), to_jax(batch), to_torch(params), to_torch(batch), output_loss, transposed
    )


def chain(params, x):
    """Linear layers, one after the other."""
    for name in sorted(params):
        x = x @ params[name]
    return x


def chain_torch(params, x):
    uses = Uses()
    for name in sorted(params):
        x = uses.dense(name, x, params[name])
    return x, uses


def shared(params, x):
    """One layer applied twice, with a bias, and a scale that is no matrix."""
    h = jnp.tanh(x @ params["twice"] + params["bias"])
    h = jnp.tanh(h @ params["twice"] + params["bias"]) * params["scale"]
    return h @ params["out"]


def shared_torch(params, x):
    uses = Uses()
    h = torch.tanh(uses.dense("twice", x, params["twice"]) + params["bias"])
    h = torch.tanh(uses.dense("twice", h, params["twice"]) + params["bias"]) * params["scale"]
    return uses.dense("out", h, params["out"]), uses


def positions(params, x):
    """Every position by itself; the first weight is stored as torch stores it."""
    return jnp.tanh(x @ params["first"].T) @ params["second"]


def positions_torch(params, x):
    uses = Uses()
    return uses.dense("second", torch.tanh(uses.dense("first", x, params["first"].T)), params["second"]), uses


def recurrent(params, x):
    def step(h, x):
        return jnp.tanh(x @ params["input"] + h @ params["hidden"]), None

    return params["out"] @ jax.lax.scan(step, jnp.zeros(3), x)[0]


def recurrent_torch(params, x):
    uses, h = Uses(), torch.zeros(3, dtype=torch.float64)
    for row in x:
        h = torch.tanh(uses.dense("input", row, params["input"]) + uses.dense("hidden", h, params["hidden"]))
    return uses.dense("out", h, params["out"].T), uses


def convolutional(params, x):
    """A convolution with strides and SAME padding, one without padding."""
    layout = ("NHWC", "HWIO", "NHWC")
    x = jnp.tanh(jax.lax.conv_general_dilated(x[None], params["same"], (2, 2), "SAME", dimension_numbers=layout))
    x = jnp.tanh(jax.lax.conv_general_dilated(x, params["valid"], (1, 1), "VALID", dimension_numbers=layout))
    return x.reshape(-1) @ params["out"]


def convolutional_torch(params, x):
    uses = Uses()

    def convolve(path, x, stride, padding):
        kernel = params[path]
        height, _, into, out = kernel.shape
        patches = torch.nn.functional.unfold(x.permute(2, 0, 1)[None], height, padding=padding, stride=stride)[0]
        patches = patches.reshape(into, height * height, -1).permute(2, 1, 0).reshape(-1, height * height * into)
        y = uses.dense(path, patches, kernel.reshape(-1, out))
        return torch.tanh(y.reshape(*[round(len(y) ** 0.5)] * 2, out))

    x = convolve("valid", convolve("same", x, 2, 1), 1, 0)
    return uses.dense("out", x.reshape(-1), params["out"]), uses


def attentive(params, tokens):
    """A lookup, one head of attention, a mean over the tokens."""
    x = params["table"][tokens]
    scores = jax.nn.softmax((x @ params["query"]) @ (x @ params["key"]).T / 2)
    return jnp.mean(x + (scores @ (x @ params["value"])) @ params["mix"], axis=0) @ params["out"]


def attentive_torch(params, tokens):
    uses = Uses()
    x = uses.dense("table", torch.nn.functional.one_hot(tokens, 5).to(torch.float64), params["table"])
    query, key, value = (uses.dense(path, x, params[path]) for path in ("query", "key", "value"))
    mixed = uses.dense("mix", torch.softmax(query @ key.T / 2, -1) @ value, params["mix"])
    return uses.dense("out", (x + mixed).mean(0), params["out"]), uses


RNG = np.random.default_rng(3)
LABELS = RNG.integers(0, 2, size=4)
NETWORKS = {
    "shared": network(
        shared,
        shared_torch,
        {"twice": (3, 3), "bias": (3,), "scale": (3,), "out": (3, 2)},
        (draw(4, 3), LABELS),
        "softmax_cross_entropy",
    ),
    "positions": network(
        positions,
        positions_torch,
        {"first": (4, 2), "second": (4, 2)},
        (draw(4, 3, 2), draw(4, 3, 2, seed=1)),
        "squared_error",
        ("first",),
    ),
    "recurrent": network(
        recurrent,
        recurrent_torch,
        {"input": (2, 3), "hidden": (3, 3), "out": (2, 3)},
        (draw(4, 3, 2), RNG.integers(0, 2, size=(4, 2)).astype(float)),
        "bernoulli",
        ("out",),
    ),
    "convolutional": network(
        convolutional,
        convolutional_torch,
        {"same": (3, 3, 2, 2), "valid": (2, 2, 2, 3), "out": (12, 2)},
        (draw(4, 5, 5, 2), LABELS),
        "softmax_cross_entropy",
    ),
    "attentive": network(
        attentive,
        attentive_torch,
        {"table": (5, 4), **dict.fromkeys(("query", "key", "value", "mix"), (4, 4)), "out": (4, 2)},
        (RNG.integers(0, 5, size=(4, 3)), LABELS),
        "softmax_cross_entropy",
    ),
}


def cases():
    """Return every network with some of the kinds and approximations, so that all of them occur."""
    ways = list(itertools.product(("empirical", "mc", "exact"), ("expand", "reduce")))
    names = list(NETWORKS)
    return [(name, *ways[(2 * i + j) % 6]) for i, name in enumerate(names) for j in (0, 3)]
