"""The gradients of all losses: one after the other, or some at a time through what they share."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgrad import _check, _sharding
from jaxgrad._types import Array, Tree
from jaxgrad.multi_loss._linearize import Linearized, Slope, transposed
from jaxgrad.multi_loss._trunk import runs, split

__all__ = ["Block", "Blocks", "blocks", "checked_chunk", "count_of", "filled", "rows"]


class Block(NamedTuple):
    """The gradients of some losses by one leaf."""

    start: int
    """The first of the losses; the others follow."""
    rows: Array
    """Their gradients along a new leading axis."""


Blocks = list[Block]
"""Of one leaf, in the order of the losses; those that do not touch the leaf are in none."""


def checked_chunk(chunk: int | None) -> int | None:
    """Return a checked number of losses to pull back together."""
    return None if chunk is None else _check.count(chunk, "chunk", least=1)


def count_of(rows: Tree) -> int:
    """Return how many gradients a tree of rows holds.

    Raises:
        TypeError: If a leaf is no array of real floating-point numbers.
        ValueError: If the leading axes differ, or there is no leaf, or no gradient.
    """
    _check.floating(rows=rows)
    count = _check.same_leading(rows=rows)
    if count == 0:
        message = "rows must hold at least one gradient: their leading axis, that of the losses, has length 0"
        raise ValueError(message)
    return count


def rows(start: Linearized, chunk: int | None) -> list[Array]:
    """Return all gradients by leaf, along a new leading axis; ``chunk`` as in `blocks`."""
    return [filled(start, i, mine) for i, mine in enumerate(blocks(start, chunk))]


def blocks(start: Linearized, chunk: int | None) -> list[Blocks]:
    """Return, by leaf, the gradients of the losses that touch it.

    Args:
        start: The losses and their derivative.
        chunk: How many losses to pull back together. ``None``: one after the other on a CPU, where a batch of products
            of matrices is no faster than the products, and all together elsewhere; all entries of an array that is
            computed as a whole.
    """
    most = (1 if jax.default_backend() == "cpu" else start.count) if chunk is None else chunk
    found: list[Blocks] = [[] for _ in start.leaves]
    alike = itertools.groupby(range(len(start.sizes)), lambda result: (start.is_whole(result), start.own(result)))
    for (is_whole, _), results in alike:
        if is_whole:
            parts = [_of_entries(start, result, chunk) for result in results]
        else:
            parts = [_of_scalars(start, group) for group in runs(start.linear.jaxpr, list(results), most)]
        for mine, *new in zip(found, *parts, strict=True):
            mine.extend(block for part in new for block in part)
    return found


def filled(start: Linearized, i: int, mine: Blocks) -> Array:
    """Join the rows of leaf ``i``, with zeros for the losses that do not touch it."""
    pieces, done = [], 0
    for block in [*mine, Block(start.count, jnp.zeros(()))]:
        pieces += [start.untouched(k, i)[None] for k in range(done, block.start)]
        if block.start < start.count:
            pieces.append(block.rows)
            done = block.start + len(block.rows)
    return pieces[0] if len(pieces) == 1 else jnp.concatenate(pieces)


def _of_entries(start: Linearized, result: int, chunk: int | None) -> list[Blocks]:
    """Pull back the entries of an array that is computed as a whole."""
    size = start.sizes[result]
    places = _sharding.vary(jnp.arange(size), start.own(result))
    found = jax.lax.map(lambda place: start.pull_back_entry(result, place), places, batch_size=chunk or size)
    whole = start.over_devices(result, found)
    return [[] if block is None else [Block(start.starts[result], block)] for block in whole]


def _of_scalars(start: Linearized, results: list[int]) -> list[Blocks]:
    """Pull back scalars: each through what it has for itself, then all together through what they share."""
    if len(results) == 1:
        k = start.starts[results[0]]
        return [[] if slope is None else [Block(k, slope[None])] for slope in start.slopes(k)]
    shared, consts, leaves = split(start.linear.jaxpr, results), start.linear.consts, start.leaves
    avals: list[Any] = [var.aval for var in shared.boundary]
    kinds = [_sharding.shape_like(aval, aval.shape) for aval in avals]
    own, ends = [], []
    for result, head in zip(results, shared.heads, strict=True):
        seed = _sharding.vary(jnp.ones((), start.linear.out_avals[result].dtype), start.own(result))
        slopes = transposed(head, consts, [*leaves, *kinds], [seed])
        own.append(slopes[: len(leaves)])
        ends.append(slopes[len(leaves) :])
    seeds = [_stacked(cotangents) for cotangents in zip(*ends, strict=True)]
    # a vmap over no array has no length
    below = jax.vmap(lambda seeds: transposed(shared.trunk, consts, leaves, seeds))(seeds) if seeds else own[0][:0]
    below = below or [None] * len(leaves)
    together = start.over_devices(results[0], [_added(*slopes) for slopes in zip(below, *own, strict=True)])
    alone = [
        start.over_devices(
            result, [None if trunk is not None else slope for trunk, slope in zip(below, row, strict=True)]
        )
        for result, row in zip(results, own, strict=True)
    ]
    starts = [start.starts[result] for result in results]
    return [
        [Block(k, slope[None]) for k, slope in zip(starts, row, strict=True) if slope is not None]
        if block is None
        else [Block(starts[0], block)]
        for block, *row in zip(together, *alone, strict=True)
    ]


def _stacked(slopes: Sequence[Slope]) -> Array:
    """Stack what several losses give, zeros for those that give nothing."""
    like = next(slope for slope in slopes if slope is not None)
    return jnp.stack([jnp.zeros_like(like) if slope is None else slope for slope in slopes])


def _added(trunk: Slope, *heads: Slope) -> Slope:
    """Add what reaches a leaf from each head to the rows that reach it through the trunk; nothing without these."""
    return trunk if trunk is None or all(slope is None for slope in heads) else trunk + _stacked(heads)
