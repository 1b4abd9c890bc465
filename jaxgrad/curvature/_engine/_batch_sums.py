"""Sums of products over minibatches, and the one division at their end."""

import jax
import jax.numpy as jnp

from jaxgrad import _check, _sharding, _tree
from jaxgrad._types import Array, Tree

__all__ = ["blank", "divided", "mirrored", "plus", "widest"]


def mirrored(product: Tree, vector: Tree) -> Tree:
    """Return the product of one batch, refused unless it mirrors the vector.

    Raises:
        ValueError: If it does not; with what to leave out of the product.
    """
    try:
        _check.mirrors(vector=vector, **{"the result of product": product})
    except ValueError as error:
        message = f"{error}\n  leave has_aux and full_output out of the product: what they return is not summed"
        raise ValueError(message) from None
    return product


def widest(leaf: Array) -> Array:
    """Return a product in the dtype of sums; a leaf that is held, such as an integer, as it is."""
    return leaf.astype(_tree.accumulator(leaf.dtype)) if _check.is_real_float(leaf) else leaf


def blank(leaf: Array, like: Array) -> Array:
    """Return the start of a sum of products: zeros that lie over the devices as the parameters do.

    Of a leaf that is held, such as an integer, it is the sum as well.
    """
    zeros = jnp.zeros_like(widest(leaf))
    return _sharding.like(zeros, like) if zeros.shape == jnp.shape(like) else zeros


def plus(total: Array, leaf: Array) -> Array:
    """Add in the dtype and the layout of the sum."""
    return total + _sharding.like(leaf.astype(total.dtype), total) if _check.is_real_float(leaf) else total


def divided(total: Tree, count: Array, like: Tree) -> Tree:
    """Divide a sum once, and return it in the dtypes of another tree."""

    def mean(leaf: Array, other: Array) -> Array:
        return (leaf / count.astype(leaf.dtype)).astype(other.dtype) if _check.is_real_float(other) else leaf

    return jax.tree.map(mean, total, like)
