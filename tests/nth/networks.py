"""The tanh network of the nth tests, as a function of one number or of one point, in both frameworks."""

import numpy as np

from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params, mlp_torch


def of_numbers(x, params):
    """The network 1-...-1 entry by entry of ``x``."""
    return mlp_jax(params, x[..., None])[..., 0]


def of_numbers_torch(x, params):
    return mlp_torch(params, x[..., None])[..., 0]


def of_point(x, params):
    """The network at one point, all outputs."""
    return mlp_jax(params, x)


def of_point_torch(x, params):
    return mlp_torch(params, x)


def draw(sizes, shape, seed=0):
    """Return parameters and points in both frameworks."""
    params, x = mlp_params(sizes, seed), np.random.default_rng(seed + 7).normal(size=shape)
    return to_jax(params), to_jax(x), to_torch(params), to_torch(x)
