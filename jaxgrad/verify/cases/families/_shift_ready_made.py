"""Case S2: the gradient at w + a of networks that nobody rewrites."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import models, shift
from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases._case import Criterion, Quantity, case

SIZES = (64, 24, 10)


def digits(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scanned digits, 64 pixels each from 0 to 1, and their classes as rows of zeros and a one."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.data[:count] / 16.0, np.eye(10)[data.target[:count]]


@functools.cache
def cross_entropy(apply_fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return the mean cross-entropy of a network that gives logits, in JAX."""

    def loss(params: Any, x: Any, y: Any) -> Any:
        return -jnp.mean(jnp.sum(y * jax.nn.log_softmax(apply_fn(params, x)), -1))

    return loss


def cross_entropy_torch(module: Any) -> Callable[..., Any]:
    """Return the mean cross-entropy of a module as a function of its parameters by name."""
    import torch

    def loss(params: Any, x: Any, y: Any) -> Any:
        logits = torch.func.functional_call(module, params, (x,))
        return -(y * torch.log_softmax(logits, -1)).sum(-1).mean()

    return loss


def trained_module(x: np.ndarray, y: np.ndarray) -> Any:
    """Return a plain ``torch.nn.Sequential`` in float64, trained on the digits for a moment."""
    import torch

    (a, b, c), nn = SIZES, torch.nn
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(a, b), nn.LayerNorm(b), nn.Tanh(), nn.Linear(b, c)).double()
    optimizer, loss = torch.optim.Adam(module.parameters(), lr=0.01), cross_entropy_torch(module)
    for _ in range(20):
        optimizer.zero_grad()
        loss(dict(module.named_parameters()), torch.from_numpy(x), torch.from_numpy(y)).backward()
        optimizer.step()
    return module


@functools.cache
def linen_sequence() -> models.Model:
    """Return the same layers in linen's own container; of their weights, which are torch's, the shapes alone."""
    from flax import linen as nn

    _, b, c = SIZES
    module = nn.Sequential([nn.Dense(b), nn.LayerNorm(epsilon=1e-5), jnp.tanh, nn.Dense(c)])
    return models.from_linen(module, variables=jax.eval_shape(module.init, jax.random.key(0), np.ones((1, SIZES[0]))))


@functools.cache
def nnx_sequence() -> models.Model:
    """Return the same layers in NNX's own container, of their weights the shapes alone."""
    from flax import nnx as nn

    a, b, c = SIZES

    def make() -> Any:
        rngs = nn.Rngs(0)
        norm = nn.LayerNorm(b, epsilon=1e-5, rngs=rngs)
        return nn.Sequential(nn.Linear(a, b, rngs=rngs), norm, jnp.tanh, nn.Linear(b, c, rngs=rngs))

    return models.from_nnx(nn.eval_shape(make))


@case("S2", "The same on ready-made networks: linen, NNX and torch.nn, unedited")
def ready_made(dtype: np.dtype) -> list[Quantity | Criterion]:
    """A network trained on scanned digits for a moment; torch moves its weights by ``functional_call``."""
    import torch_ref.shift

    x, y = digits(64)
    module, rng = trained_module(x, y), np.random.default_rng(2)
    weights = {name: leaf.detach().numpy().copy() for name, leaf in module.named_parameters()}
    moves = {name: 0.1 * rng.normal(size=leaf.shape) for name, leaf in weights.items()}
    data = to_jax((x, y), dtype)
    weights_torch, moves_torch, *data_torch = to_torch((weights, moves, x, y), dtype)

    def compare(name: str, model: models.Model) -> Quantity:
        mapping = models.mapping_for(module, model.params)
        params, move = (to_jax(jax.tree.map(np.asarray, mapping.to_jax(tree)), dtype) for tree in (weights, moves))
        loss, loss_torch = cross_entropy(model.apply_fn), cross_entropy_torch(module)
        return Quantity(
            f"{name} against torch.nn",
            lambda: shift.gradient(loss, params, move, *data),
            lambda: mapping.gradients_to_jax(
                torch_ref.shift.gradient(loss_torch, weights_torch, moves_torch, *data_torch)
            ),
        )

    return [compare("linen", linen_sequence()), compare("NNX", nnx_sequence())]
