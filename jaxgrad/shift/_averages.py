"""Sums over many shifts: several at once, in loops over chunks, or one by one where their spread is asked for."""

import math
from collections.abc import Callable
from typing import Any, Generic, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _check, _sharding, _tree
from jaxgrad._types import Array, T, Tree
from jaxgrad._uses import _chunks
from jaxgrad._uses._low_rank import LowRank, is_low_rank
from jaxgrad.shift._samples import Samples

__all__ = ["Estimate", "chunk_of", "mean_and_error", "over_chunks", "sum_of_shifts", "weighted_sum"]


class Estimate(NamedTuple, Generic[T]):
    """An estimate of the gradient of a loss that is averaged over shifts."""

    gradient: T
    """Like ``params``."""
    standard_error: T
    """Of every entry of it, from the spread over the shifts; float32 at the least."""
    value: Array
    """The mean of the loss over the shifts; float32 at the least."""


def chunk_of(samples: Samples, chunk: int | None) -> int:
    """Return how many shifts are taken at once: of low rank all, others one by one, where nothing is said."""
    if chunk is None:
        return samples.number if samples.low_rank else 1
    return min(_check.count(chunk, "chunk", least=1), samples.number)


def over_chunks(
    step: Callable[[Any, Array], tuple[Tree, Tree]], rows: Tree, number: int, chunk: int, unroll: bool = False
) -> tuple[Tree, Tree]:
    """Apply ``step(rows, real)`` to chunks of rows, as even as can be, through the loop of `_uses`."""
    turns = math.ceil(number / chunk)
    return _chunks.over_chunks(step, rows, jnp.ones(number, bool), math.ceil(number / turns), unroll)


def mean_and_error(term: Callable[[Any], tuple[Tree, Tree]], rows: Tree, number: int) -> tuple[Tree, Tree, Tree]:
    """Return the mean of the first result of ``term(row)`` and its standard error, one row after the other.

    By Welford's recursion, so that nothing cancels where the terms differ little; what else ``term`` returns is
    stacked.
    """

    def add(state: Any, row: Any) -> tuple[Any, Tree]:
        mean, squares, seen = state
        found, out = term(row)
        apart = jax.tree.map(jnp.subtract, found, mean)
        mean = jax.tree.map(lambda m, d: m + d / (seen + 1).astype(d.dtype), mean, apart)
        squares = jax.tree.map(lambda s, d, x, m: s + d * (x - m), squares, apart, found, mean)
        return (mean, squares, seen + 1), out

    shapes = jax.eval_shape(term, _tree.take(rows, 0))[0]
    zeros = jax.tree.map(_sharding.zeros, shapes)
    start = zeros, zeros, jnp.zeros((), int)
    start = _sharding.settled(lambda state, row: add(state, row)[0], start, _tree.take(rows, 0))
    (mean, squares, _), outs = lax.scan(add, start, rows)
    freedom = number * (number - 1)
    return mean, jax.tree.map(lambda s: _tree.safe_sqrt(s / freedom), squares), outs


def sum_of_shifts(stack: Tree, weights: Array) -> Tree:
    """Return the weighted sum of a stack of shifts, dense: of those of low rank by thin products, in one."""

    def total(node: Any) -> Array:
        if is_low_rank(node):
            return _low_rank_sum(node, weights)
        kept = _tree.accumulator(node.dtype, weights.dtype)
        return jnp.einsum("k,k...->...", weights.astype(kept), node.astype(kept), precision="highest")

    return jax.tree.map(total, stack, is_leaf=is_low_rank)


def _low_rank_sum(stack: LowRank, weights: Array) -> Array:
    """Return a sum of outer products: with their ranks side by side it is one of higher rank."""
    kept = _tree.accumulator(stack.left.dtype, weights.dtype)
    left, right = (
        jnp.moveaxis(x.astype(kept), 0, 2).reshape(*x.shape[1:3], -1)
        for x in (stack.left.astype(kept) * weights.astype(kept)[:, None, None, None], stack.right)
    )
    return LowRank(left, right, stack.split, stack.shape).dense()


def weighted_sum(samples: Samples, weights: Array, chunk: int) -> Tree:
    """Return the weighted sum of all shifts, dense: a tree with the leaves that they have."""

    def step(turn: Any, real: Array) -> tuple[Tree, Tree]:
        source, part = turn
        return sum_of_shifts(jax.vmap(samples.draw)(source), jnp.where(real, part, jnp.zeros_like(part))), ()

    return over_chunks(step, (samples.source, weights), samples.number, chunk)[0]
