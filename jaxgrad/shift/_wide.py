"""Losses at parameters of 16 bits that are moved by less than their spacing: they are evaluated in float32."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgrad import _check, _tree
from jaxgrad._types import AxisName, Params, Tree, Wrt

__all__ = ["cast", "subset_of", "taking_float32"]


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
        like = jax.eval_shape(loss_fn, cast(given, params), *data)
        found = loss_fn(_tree.widened(given), *_tree.widened(data))
        return _but_first(found, cast(found, like)) if wide_loss else cast(found, like)

    return loss


def subset_of(
    loss_fn: Callable[..., Any], params: Params, wrt: Wrt, data: tuple[Any, ...], axis_name: AxisName, has_aux: bool
) -> _tree.Subset:
    """Return the checked loss on the leaves that count, after refusing those that cannot be differentiated."""
    checked = taking_float32(_check.scalar_loss(loss_fn, has_aux=has_aux), params)
    subset = _tree.restrict(checked, params, wrt, data, axis_name, has_aux)
    _check.differentiable(params=subset.active)
    return subset


def _but_first(found: Any, narrow: Any) -> Any:
    """Return what is narrow with the loss as it was found, which is the first leaf, alone or before an aux."""
    leaves, treedef = jax.tree.flatten(narrow)
    structure: Any = treedef
    return structure.unflatten([jax.tree.leaves(found)[0], *leaves[1:]])


def _kinds(tree: Tree) -> list[Any]:
    """Return the dtypes of a tree's leaves."""
    return [jnp.result_type(leaf) for leaf in jax.tree.leaves(tree)]


def cast(tree: Tree, like: Tree) -> Tree:
    """Return a tree in the dtypes of another; leaves that have them, random keys for instance, are not touched."""

    def one(leaf: Any, other: Any) -> Any:
        return leaf if jnp.result_type(leaf) == jnp.result_type(other) else jnp.asarray(leaf, jnp.result_type(other))

    return jax.tree.map(one, tree, like)
