"""What may stand for the inverse of a damped matrix in an iteration."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _check, _sharding, _tree
from jaxgrad._types import Params, Tree
from jaxgrad.curvature._engine import _stacks
from jaxgrad.curvature._engine._symmetric import Times, over_floats

__all__ = ["Inverse", "Preconditioner", "preconditioning"]


class Inverse(Protocol):
    """An approximation of a matrix that can be inverted with any damping."""

    def inverse_product(self, vector: Any, damping: Any) -> Any:
        """Return the inverse of the matrix plus ``damping``, times a vector."""


Preconditioner = Callable[[Any], Any] | Inverse | Tree | None
"""A function of a tree, an object with ``inverse_product``, the diagonal of the matrix as a tree, or none."""


def preconditioning(given: Preconditioner, params: Params, damping: Any) -> Times | None:
    """Return a preconditioner as a function of the part of a vector that `over_floats` picks.

    Raises:
        ValueError: If what it returns, or a diagonal, does not mirror ``params``.
    """
    if given is None:
        return None
    if hasattr(given, "inverse_product"):
        return _checked(lambda tree: given.inverse_product(tree, damping), params)
    if callable(given):
        return _checked(given, params)
    _check.mirrors(params=params, preconditioner=given)
    scales = lax.stop_gradient(
        jax.tree.map(lambda leaf: _inverse(leaf, damping), _tree.widened(over_floats(params).pick(given)))
    )
    return lambda vector: jax.tree.map(jnp.multiply, vector, scales)


def _checked(function: Callable[[Any], Any], params: Params) -> Times:
    """Return a preconditioner on vectors whose 16-bit leaves are kept in float32, its result checked."""
    floats = over_floats(params)

    def precondition(vector: Tree) -> Tree:
        result = function(floats.embed(_stacks.with_dtypes(vector, floats.active)))
        _check.mirrors(**{"params": params, "preconditioner(vector)": result})
        return _tree.widened(jax.tree.map(_sharding.like, floats.pick(result), floats.active))

    return precondition


def _inverse(diagonal: Any, damping: Any) -> Any:
    """Return one over a damped diagonal; a guess must be definite, so signs are dropped and zeros left alone."""
    size = jnp.abs(diagonal) + jnp.asarray(damping).astype(diagonal.dtype)
    return jnp.where(size > 0, 1 / jnp.where(size > 0, size, jnp.ones_like(size)), jnp.ones_like(size))
