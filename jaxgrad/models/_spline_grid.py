"""Cubic B-splines at several resolutions, as the features of a field that is even about the edges of its domain."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxgrad import _sharding
from jaxgrad._types import Array
from jaxgrad.inr._engine._spline import cell_of, pieces
from jaxgrad.models._hash_grid import check_levels

__all__ = ["SMALL", "SplineLevels", "encode", "make_levels"]


SMALL = 1e-2
"""The largest entry at the start. From 1e-4, a hash grid's, Adam takes a hundred steps to leave the constant field."""


class SplineLevels(NamedTuple):
    """The resolutions, the first of the entries of each, and the domain."""

    cells: tuple[int, ...]
    """Cells of each level along an axis."""
    starts: tuple[int, ...]
    """The first of its entries, in the one array that holds all tables."""
    size: int
    """The entries of all tables."""
    edges: tuple[float, ...]
    """The domain is ``[-edge, edge]``, with one edge a coordinate."""


def make_levels(
    coordinates: int, levels: int, coarsest: int, finest: int, edge: float | Sequence[float]
) -> SplineLevels:
    """Lay out levels whose resolutions grow by one factor; two that round to the same number stay two.

    Raises:
        ValueError: If a number makes no grid.
    """
    edges = (edge,) * coordinates if isinstance(edge, int | float) else tuple(edge)
    check_levels("a grid of splines", coordinates, levels, coarsest, finest)
    if len(edges) != coordinates or not all(0 < e < math.inf for e in edges):
        message = f"edge must be a positive number, or {coordinates} of them; got {edge}"
        raise ValueError(message)
    cells = tuple(round(coarsest * (finest / coarsest) ** (n / max(levels - 1, 1))) for n in range(levels))
    rows = [(n + 1) ** coordinates for n in cells]
    return SplineLevels(cells, (0, *itertools.accumulate(rows))[:-1], sum(rows), edges)


def encode(points: Array, entries: Array, levels: SplineLevels) -> Array:
    r"""Return the features of points: at each level, a cubic spline through its table, even about the edges.

    .. math:: \sum_{v \in \{-1, 0, 1, 2\}^d} T[|c + v|] \prod_k B_{v_k}(t_k)

    with :math:`c` the cell in which the point lies, :math:`t` its place there, and :math:`B` the four pieces of the
    cubic B-spline (de Boor 1978, chapter IX). The second derivatives are continuous, the third jump where cells meet.
    Vertices beyond an edge are those that it mirrors: the slope across is 0 there, and beyond, the field goes on as
    its mirror image.

    Args:
        points: Of shape ``(..., d)``.
        entries: The tables of all levels, of shape ``(levels.size, features)``.
        levels: The resolutions.

    Returns:
        The features, level by level, of shape ``(..., levels * features)``.
    """
    unit = (points / np.array(levels.edges, points.dtype).reshape((1,) * (points.ndim - 1) + (-1,)) + 1) / 2
    # a level is a part of all entries, which a device that holds some of them does not have
    entries = _sharding.gathered(entries)
    # level by level: the tables differ in size, and all corners of all levels at once take ten times the memory
    features = [
        _level(unit * n, entries[start : start + (n + 1) ** points.shape[-1]], n)
        for n, start in zip(levels.cells, levels.starts, strict=True)
    ]
    return jnp.concatenate(features, axis=-1)


def _level(position: Array, table: Array, cells: int) -> Array:
    """Return one level's features of points, whose positions are given in cells from the first edge."""
    *shape, coordinates = position.shape
    # float32 may round a point at the last edge into the cell behind it, which is that mirrored: the same numbers
    cell = cell_of(position)
    shares = pieces(position - cell)
    around = np.arange(-1, 3, dtype=np.int32).reshape((1,) * len(shape) + (-1,))
    weight, row = jnp.ones((*shape, 1), position.dtype), jnp.zeros((*shape, 1), jnp.int32)
    for axis in range(coordinates):
        vertex = _mirrored(cell[..., axis, None].astype(jnp.int32) + around, cells)
        weight = (weight[..., :, None] * shares[..., axis, None, :]).reshape(*shape, -1)
        row = (row[..., :, None] + vertex[..., None, :] * np.int32((cells + 1) ** axis)).reshape(*shape, -1)
    corners = _sharding.read(table, row, mode="promise_in_bounds").astype(position.dtype)
    return jnp.einsum("...k,...kf->...f", weight, corners)


def _mirrored(vertex: Array, cells: int) -> Array:
    """Return the vertex between 0 and ``cells`` that stands for one beyond the edges."""
    # a period is there and back; jnp.mod is never negative
    around = jnp.mod(vertex, np.int32(2 * cells))
    return jnp.minimum(around, np.int32(2 * cells) - around)
