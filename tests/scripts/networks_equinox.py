"""The networks of the scripts, as equinox modules."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

__all__ = ["Normed", "TwoHeads", "mlp", "normed"]


class Normed(eqx.Module):
    """A layer of 32 units with a BatchNorm, and one of digits."""

    hidden: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    out: eqx.nn.Linear

    def __init__(self, key: Array):
        """Draw the weights."""
        keys = jax.random.split(key)
        self.hidden, self.out = eqx.nn.Linear(64, 32, key=keys[0]), eqx.nn.Linear(32, 10, key=keys[1])
        self.norm = eqx.nn.BatchNorm(32, axis_name="batch", momentum=0.9, mode="batch")

    def __call__(self, x: Array, stats: eqx.nn.State) -> tuple[Array, eqx.nn.State]:
        """Return the logits of one example."""
        x, stats = self.norm(self.hidden(x), stats)
        return self.out(jax.nn.relu(x)), stats


class TwoHeads(eqx.Module):
    """Says which digit it is, and whether it is odd."""

    trunk: eqx.nn.Linear
    digit: eqx.nn.Linear
    odd: eqx.nn.Linear

    def __init__(self, key: Array):
        """Draw the weights."""
        keys = jax.random.split(key, 3)
        self.trunk = eqx.nn.Linear(64, 32, key=keys[0])
        self.digit, self.odd = eqx.nn.Linear(32, 10, key=keys[1]), eqx.nn.Linear(32, 2, key=keys[2])

    def __call__(self, x: Array) -> tuple[Array, Array]:
        """Return the logits of both, for one example."""
        x = jax.nn.relu(self.trunk(x))
        return self.digit(x), self.odd(x)


def normed(key: Array) -> tuple[Callable[..., tuple[Array, eqx.nn.State]], Normed, eqx.nn.State]:
    """Return the network with a BatchNorm as a function of a batch, its weights, and its statistics."""
    model, stats = eqx.nn.make_with_state(Normed)(key)
    params, rest = eqx.partition(model, eqx.is_inexact_array)

    def apply_fn(params: Normed, stats: eqx.nn.State, x: Array, train: bool = True) -> tuple[Array, eqx.nn.State]:
        model = eqx.nn.inference_mode(eqx.combine(params, rest), not train)
        return jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(x, stats)

    return apply_fn, params, stats


def mlp(inputs: int, outputs: int, key: Array) -> tuple[Any, Any]:
    """Return the weights of a network with 32 hidden units, and the rest of it."""
    return eqx.partition(eqx.nn.MLP(inputs, outputs, 32, 1, jnp.tanh, key=key), eqx.is_inexact_array)
