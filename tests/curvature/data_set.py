"""A data set of eleven examples, which no batch size of the tests divides, and products that add up over it."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxgrad.curvature import ggn_product, hvp, weighted_loss
from jaxgrad.verify.cases.families._networks import mlp_jax
from tests.bridge import random_like
from tests.problems import mean_square, regression

__all__ = ["GGN", "HESSIAN", "LABELS", "PARAMS", "PROBLEM", "VECTOR", "X", "Y", "batches_of"]

PROBLEM = regression((3, 4, 2), batch=11)
PARAMS, (X, Y) = PROBLEM.params, PROBLEM.data
VECTOR = random_like(PARAMS, 1)
LABELS = jnp.asarray(np.arange(11) % 2)

HESSIAN = functools.partial(hvp, weighted_loss(mean_square))
GGN = functools.partial(ggn_product, mlp_jax, output_loss="softmax_cross_entropy")


def batches_of(size: int, *data: Any) -> list[tuple[Any, ...]]:
    """Return a loader of batches of one size, the last smaller."""
    return [tuple(part[i : i + size] for part in data) for i in range(0, len(data[0]), size)]
