"""A small regression for the tests of private training, without torch, so that they run on every JAX."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params

__all__ = ["Regression", "mean_square", "regression"]


class Regression(NamedTuple):
    """Parameters and data in float64."""

    params: dict
    data: tuple[jax.Array, jax.Array]


def mean_square(params, x, y):
    """Mean squared error of the tanh network on one example."""
    return jnp.mean((mlp_jax(params, x) - y) ** 2)


def regression(batch=7, sizes=(3, 6, 5, 2)):
    """Draw a tanh network, of three layers unless told otherwise, and its data."""
    rng = np.random.default_rng(100)
    data = jnp.asarray(rng.normal(size=(batch, sizes[0]))), jnp.asarray(rng.normal(size=(batch, sizes[-1])))
    return Regression(jax.tree.map(jnp.asarray, mlp_params(sizes, 0)), data)
