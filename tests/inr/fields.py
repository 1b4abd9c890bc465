"""A small SIREN in both frameworks, for the tests of this family."""

from typing import NamedTuple

import numpy as np

from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases.families._siren import siren_jax, siren_params, siren_torch

__all__ = ["Field", "field", "siren_jax", "siren_torch"]


class Field(NamedTuple):
    """One problem in both frameworks, all float64."""

    params: object
    points: object
    params_torch: object
    points_torch: object


def field(points: int = 7) -> Field:
    """Draw a SIREN 2-6-5-3 and points in the square."""
    params = siren_params((2, 6, 5, 3), 0)
    where = np.random.default_rng(1).uniform(-1, 1, (points, 2))
    return Field(to_jax(params), to_jax(where), to_torch(params), to_torch(where))
