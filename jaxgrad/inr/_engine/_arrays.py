"""An argument that is one array, and no list of numbers."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from jaxgrad import _check
from jaxgrad._types import Array

__all__ = ["one_array"]


def one_array(name: str, given: Any) -> Array:
    """Return an argument as an array; a list would be taken for a tree of numbers.

    Raises:
        TypeError: If it is no real floating-point array.
        ValueError: If it is a tree without a leaf.
    """
    _check.floating(**{name: given})
    if not hasattr(given, "shape"):
        message = f"{name} must be one array; got {_check.describe(given)}: write jnp.asarray({name})"
        raise TypeError(message)
    return jnp.asarray(given)
