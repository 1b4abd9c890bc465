"""Losses as they were returned, an array or a tree of scalars, as one array."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax.typing import ArrayLike

from jaxgrad import _check, _tree
from jaxgrad._types import Array, Tree
from jaxgrad.multi_loss import _losses

__all__ = ["coefficients", "unit", "vector"]


def vector(losses: Tree, name: str = "losses") -> Array:
    """Return losses as an array of shape ``(K,)``, in float32 at the least; those of a dictionary by its sorted keys.

    Raises:
        TypeError: If one is no real floating-point number.
        ValueError: If there is none, or they are neither one axis of them nor scalars.
    """
    _check.floating(**{name: losses})
    leaves = jax.tree.leaves(losses)
    alone = jtu.all_leaves([losses])
    if any(jnp.ndim(leaf) != alone or jnp.size(leaf) == 0 for leaf in leaves):
        got = ", ".join(_check.describe(leaf) for leaf in leaves)
        message = (
            f"{name} must be an array of shape (K,) or a tuple, list or dict of scalars, what losses_fn returns; got"
            f" {got}. Reduce each loss with .mean() or .sum(); for a stack of them write jax.vmap"
        )
        raise ValueError(message)
    kept = _tree.accumulator(*(jnp.result_type(leaf) for leaf in leaves))
    return jnp.asarray(losses).astype(kept) if alone else jnp.stack([jnp.asarray(leaf).astype(kept) for leaf in leaves])


def coefficients(given: Tree | None, name: str, losses: Array, default: ArrayLike, named: Tree | None = None) -> Array:
    """Return one number for each loss, ``default`` where none are given.

    Args:
        given: The numbers: an array, a list or tuple, or a tree that names the losses as ``named`` does.
        name: What the caller's argument is called.
        losses: The losses as one array.
        default: What stands for ``None``.
        named: The losses as the user returned them; ``None``: they have no names.

    Raises:
        TypeError: If they are no real numbers.
        ValueError: If there is not one for each loss.
    """
    if given is None:
        return jnp.full_like(losses, default)
    _check.numbers_like(given, name, losses)
    alone = jtu.all_leaves([given])
    leaves: Any = [given] if alone else jax.tree.leaves(given)
    shapes = {jnp.shape(leaf) for leaf in leaves}
    fits = alone or _losses.is_like(given, losses if named is None else named)
    if not fits or shapes != ({losses.shape} if alone else {()}) or sum(map(jnp.size, leaves)) != losses.size:
        got = _check.describe(given) if alone else f"a tree {jax.tree.structure(given)}"
        like = "" if named is None or _losses.is_array(named) else ", or a tree of scalars like the losses"
        message = (
            f"{name} must hold one number for each of the {losses.size} losses, of shape {losses.shape}{like};"
            f" got {got}"
        )
        raise ValueError(message)
    return jnp.concatenate([jnp.ravel(jnp.asarray(leaf)).astype(losses.dtype) for leaf in leaves])


def unit(values: Array) -> Array:
    """Return a vector divided by its length; zeros, with the derivative zero, for a vector of zeros."""
    # near 1 first, by a power of two: in the derivative the square of the length stands below
    near = values / _tree.power_of_two(jnp.max(jnp.abs(values)))
    length = _tree.norm(near)
    is_zero = length == 0
    return jnp.where(is_zero, jnp.zeros_like(near), near / jnp.where(is_zero, jnp.ones_like(length), length))
