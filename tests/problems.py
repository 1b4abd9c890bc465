"""Small problems, the same numbers for both frameworks, on the plain networks of the built-in cases."""

from typing import Any, NamedTuple

import numpy as np

from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params, mlp_torch

__all__ = ["Problem", "mean_square", "mean_square_torch", "regression"]


class Problem(NamedTuple):
    """One loss in both frameworks with its inputs, all float64."""

    params: Any
    data: tuple[Any, ...]
    params_torch: Any
    data_torch: tuple[Any, ...]


def mean_square(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error of the tanh network in JAX, over a batch or on one example."""
    return ((mlp_jax(params, x) - y) ** 2).mean()


def mean_square_torch(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error of the tanh network in torch."""
    return ((mlp_torch(params, x) - y) ** 2).mean()


def regression(sizes: tuple[int, ...] = (3, 6, 5, 2), batch: int = 7, seed: int = 0) -> Problem:
    """Draw a regression problem for the tanh network."""
    rng = np.random.default_rng(seed + 100)
    params = mlp_params(sizes, seed)
    data = (rng.normal(size=(batch, sizes[0])), rng.normal(size=(batch, sizes[-1])))
    return Problem(to_jax(params), to_jax(data), to_torch(params), to_torch(data))
