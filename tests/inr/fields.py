"""A small SIREN in both frameworks, for the tests of this family."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils import _pytree as pytree

from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases.families._siren import siren_jax, siren_params, siren_torch

__all__ = ["Field", "field", "siren_jax", "siren_torch", "value_and_gradient"]


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


def value_and_gradient(loss: Callable[[Any], Any], params: Any) -> tuple[Any, Any]:
    """Return a torch loss of a tree of parameters, and its gradient."""
    leaves, structure = pytree.tree_flatten(params)
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    value = loss(pytree.tree_unflatten(leaves, structure))
    gradient = torch.autograd.grad(value, leaves, materialize_grads=True)
    return value, pytree.tree_unflatten(gradient, structure)
