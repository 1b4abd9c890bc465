"""A trunk and heads in both frameworks, float64."""

from typing import Any, NamedTuple

import numpy as np

from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases.families._multi_loss import heads_params, outputs, outputs_torch

__all__ = ["Heads", "heads", "outputs", "outputs_torch"]


class Heads(NamedTuple):
    """Parameters and points."""

    params: Any
    x: Any
    params_torch: Any
    x_torch: Any


def heads(count: int = 2) -> Heads:
    """Draw a trunk 2-3 and heads 3-5-1, with four points."""
    trees = heads_params((2, 3), (5, 1), count), np.random.default_rng(0).normal(size=(4, 2))
    return Heads(*to_jax(trees), *to_torch(trees))
