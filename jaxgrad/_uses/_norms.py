"""The norms of per-example gradients: sums of squares, and what they lose measured anew."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from jaxgrad import _sharding, _tree
from jaxgrad._types import Array
from jaxgrad._uses import _algebra
from jaxgrad._uses._algebra import Square
from jaxgrad._uses._factors import balanced, wide
from jaxgrad._uses._gradient_factors import GradientFactors
from jaxgrad._uses._plan import LeafPlan, Plan

__all__ = ["norms_of_groups"]


def norms_of_groups(plan: Plan, factors: GradientFactors, groups: Sequence[Sequence[int]]) -> list[Array]:
    """Return the norms of the gradients of each group of leaves, each of shape ``(B,)``, float32 at the least.

    They are the roots of sums of squares. Where such a sum leaves its range, or has cancelled, the gradient of the
    example is measured anew, scaled and formed.
    """
    squared = [_square(leaf, entry) for leaf, entry in zip(plan.leaves, factors.entries, strict=True)]
    kept = _tree.accumulator(factors.losses.dtype, *(s.total.dtype for s in squared if s))
    members = [[s for i in group if (s := squared[i])] for group in groups]
    blank = jnp.zeros(factors.losses.shape, kept)
    totals = [_sum([s.total for s in group], kept) if group else blank for group in members]
    doubts = [_doubt(total, group) for total, group in zip(totals, members, strict=True) if group]
    if not doubts:
        return totals
    doubt = functools.reduce(jnp.logical_or, doubts)
    # flat: XLA copies what enters a branch with axes of length 1
    flat = jax.tree.map(_algebra.flat_rows, factors.entries)
    # what enters a conditional varies as its choice does: mapped, JAX casts it, and does not look inside the branches
    axes = _sharding.varying((doubt, totals, flat))
    doubt, totals, flat = _sharding.vary((doubt, totals, flat), axes)
    roots = functools.partial(jax.tree.map, _tree.safe_sqrt, totals)

    def entry_of(i: Array) -> Any:
        return jax.tree.map(
            lambda x, like: lax.dynamic_slice_in_dim(x, i, 1).reshape(1, *like.shape[1:]), flat, factors.entries
        )

    return lax.cond(_some(doubt), lambda: _anew(entry_of, plan, groups, totals, doubt), roots)


def _square(leaf: LeafPlan, entry: Any) -> Square | None:
    """Return the squared norms of one leaf, or ``None`` where the loss does not depend on it."""
    if entry is None:
        return None
    if leaf.method != "ghost":
        return _algebra.square_of(entry)
    return _algebra.gram_square(entry) if leaf.rows > 1 else _algebra.squares(entry)


def _sum(rows: list[Array], dtype: Any) -> Array:
    """Add the squares of the leaves."""
    # as a product: XLA would repeat a plain sum of many leaves in the loop of every leaf
    stacked = jnp.stack([row.astype(dtype) for row in rows])
    return jnp.matmul(jnp.ones(len(rows), dtype), stacked, precision="highest")


def _doubt(total: Array, squared: list[Square]) -> Array:
    """Say of which examples a sum of squares may be wrong."""
    reach: Any = 1.0
    for s in squared:
        reach = reach if s.reach is None else jnp.maximum(reach, s.reach.astype(total.dtype))
    doubts = [~_tree.in_range(total, reach), *(s.cancels for s in squared if s.cancels is not None)]
    return lax.stop_gradient(functools.reduce(jnp.logical_or, doubts))


@custom_vmap
def _some(doubt: Array) -> Array:
    """Say whether there is a doubt; of a whole batch under ``vmap``, so that a choice by it stays a choice."""
    return jnp.any(doubt)


@_some.def_vmap
def _some_of_all(_: int, __: Any, doubt: Array) -> tuple[Array, bool]:
    """Say whether there is a doubt anywhere."""
    return _some(doubt), False


def _anew(
    entries_of: Callable[[Array], Any], plan: Plan, groups: Sequence[Sequence[int]], totals: list[Array], doubt: Array
) -> list[Array]:
    """Measure the doubtful examples one after the other."""

    def measure(i: Array) -> list[Array]:
        entries = entries_of(i)
        norms = [_norm(leaf, entry) for leaf, entry in zip(plan.leaves, entries, strict=True)]
        wanted = [[norms[j].astype(total.dtype) for j in group] for group, total in zip(groups, totals, strict=True)]
        return [_tree.scaled_norm(group) if group else jnp.zeros((), totals[0].dtype) for group in wanted]

    def keep(i: Array) -> list[Array]:
        return [_tree.safe_sqrt(total[i]) for total in totals]

    places = _sharding.vary(jnp.arange(doubt.size), _sharding.varying(doubt))
    return lax.map(lambda i: lax.cond(doubt[i], measure, keep, i), places)


def _norm(leaf: LeafPlan, entry: Any) -> Array:
    """Return the norm of a leaf's gradient for a batch of one, by numbers scaled before they are multiplied."""
    if entry is None:
        return jnp.zeros((), jnp.float32)
    if leaf.method != "ghost":
        return _tree.scaled_norm(entry.astype(wide(entry.dtype)))
    factors, unit = balanced(entry)
    if leaf.rows > 1:
        return unit[0] * _tree.scaled_norm(_algebra.form(leaf, factors))
    return unit[0] * _tree.safe_sqrt(_algebra.squares(factors).total[0])
