"""Losses at parameters of 16 bits that are moved by less than their spacing: they are evaluated in float32."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgrad import _tree
from jaxgrad._types import Params, Tree

__all__ = ["taking_float32"]


def taking_float32(loss_fn: Callable[..., Any], params: Params, wide_loss: bool = False) -> Callable[..., Any]:
    """Return a loss that takes float32 in the place of the 16-bit leaves of ``params``, too.

    At such parameters all leaves of 16 bits, those that do not move and those of the data too, are given to the loss in
    float32: operations that take one dtype, convolutions for instance, stay whole. What it returns is cast to the
    dtypes that it has at ``params`` themselves, so that a state that goes through it keeps its types. With
    ``wide_loss`` the loss alone is not: rounded to 16 bits, the losses at two small shifts are often the same number.
    """
    own = _kinds(params)
    if _kinds(_tree.widened(params)) == own:
        return loss_fn

    def loss(given: Params, *data: Any) -> Any:
        if _kinds(given) == own:
            return loss_fn(given, *data)
        like = jax.eval_shape(loss_fn, _cast(given, params), *data)
        found = loss_fn(_tree.widened(given), *_tree.widened(data))
        return _but_first(found, _cast(found, like)) if wide_loss else _cast(found, like)

    return loss


def _but_first(found: Any, narrow: Any) -> Any:
    """Return what is narrow with the loss as it was found, which is the first leaf, alone or before an aux."""
    leaves, treedef = jax.tree.flatten(narrow)
    structure: Any = treedef
    return structure.unflatten([jax.tree.leaves(found)[0], *leaves[1:]])


def _kinds(tree: Tree) -> list[Any]:
    """Return the dtypes of a tree's leaves."""
    return [jnp.result_type(leaf) for leaf in jax.tree.leaves(tree)]


def _cast(tree: Tree, like: Tree) -> Tree:
    """Return a tree in the dtypes of another; leaves that have them, random keys for instance, are not touched."""

    def cast(leaf: Any, other: Any) -> Any:
        return leaf if jnp.result_type(leaf) == jnp.result_type(other) else jnp.asarray(leaf, jnp.result_type(other))

    return jax.tree.map(cast, tree, like)
