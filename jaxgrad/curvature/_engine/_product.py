"""What the functions that multiply by a matrix return on request."""

from __future__ import annotations

from typing import Any, Generic, NamedTuple

import jax.numpy as jnp

from jaxgrad import _tree
from jaxgrad._types import Array, T, Tree
from jaxgrad.curvature._engine import _stacks
from jaxgrad.curvature._engine._vectors import Vectors

__all__ = ["Product", "whole"]


class Product(NamedTuple, Generic[T]):
    """A product with a curvature matrix, and what the same pass gives beside it, with ``full_output=True``."""

    product: T
    """The matrix times the vector, or one product for each vector along a leading axis."""
    value: Array
    """The loss."""
    gradient: T
    """The gradient of the loss, with the structure of ``params``; zero on leaves that do not count."""


def whole(
    subset: _tree.Subset,
    vectors: Vectors,
    product: Tree,
    beside: tuple[Tree, Array, Any],
    has_aux: bool,
    full_output: bool,
) -> Any:
    """Return a product over all leaves of ``params``, with the loss, its gradient and the aux where they are wanted."""
    gradient, value, aux = beside
    result: Any = subset.embed(product, _stacks.still(vectors.number))
    if full_output:
        result = Product(result, jnp.asarray(value), subset.embed(gradient))
    return (result, aux) if has_aux else result
