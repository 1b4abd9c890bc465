"""The multi-resolution hash grid (Müller et al. 2022), with every derivative by the coordinates and by the entries."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import _sharding
from jaxgrad._types import Array
from jaxgrad.inr._engine._spline import cell_of

__all__ = ["Grid", "check_levels", "encode", "make_grid"]

PRIMES = (1, 2654435761, 805459861)
"""The multipliers of the hash, one a coordinate (Müller et al. 2022, section 3, equation 4)."""

SMALLEST_TABLE = 64
"""Modulo 60, or 16, the second multiplier is 1, as the first is: vertices mirrored at the diagonal would share entries.
Modulo the powers of two from 64 on no two multipliers are one or each other's negative."""

RADIUS = 1.125
"""The grid covers ``[-RADIUS, RADIUS]``: half a pixel beyond the outer centres, from 9 pixels a side on."""


SMALL = 1e-4
"""The largest entry at the start: a field that is all but constant, and not quite (Müller et al. 2022, section 4)."""


class Grid(NamedTuple):
    """The levels of a grid, in tuples with an item for each."""

    cells: tuple[float, ...]
    """Cells a unit of coordinate."""
    vertices: tuple[int, ...]
    """Vertices along an axis: one more than there are cells."""
    rows: tuple[int, ...]
    """Entries of the level's table."""
    starts: tuple[int, ...]
    """The first of them, in the one array that holds all tables."""
    hashed: tuple[bool, ...]
    """Whether vertices share entries; else each has its own."""
    coordinates: int

    @property
    def size(self) -> int:
        """The entries of all tables."""
        return sum(self.rows)


def check_levels(what: str, coordinates: int, levels: int, coarsest: int, finest: int) -> None:
    """Refuse numbers that make no levels.

    Raises:
        ValueError: With those that do.
    """
    if coordinates not in (1, 2, 3):
        message = f"{what} takes points of 1, 2 or 3 coordinates; sizes starts with {coordinates}"
        raise ValueError(message)
    if levels < 1 or not 1 <= coarsest <= finest:
        got = f"levels={levels}, coarsest={coarsest}, finest={finest}"
        message = f"levels and coarsest must be at least 1, and finest at least coarsest; got {got}"
        raise ValueError(message)


def make_grid(coordinates: int, levels: int, table_size: int, coarsest: int, finest: int) -> Grid:
    """Lay out the levels, whose resolutions grow by one factor (Müller et al. 2022, equations 2 and 3).

    Args:
        coordinates: 1, 2 or 3.
        levels: How many there are.
        table_size: The most entries that a level has, a power of two.
        coarsest: The cells of the first level along an axis, from -1 to 1.
        finest: Those of the last.

    Raises:
        ValueError: If a number makes no grid.
    """
    check_levels("a hash grid", coordinates, levels, coarsest, finest)
    if table_size < SMALLEST_TABLE or table_size & (table_size - 1):
        message = f"table_size must be a power of two, {SMALLEST_TABLE} at the least; got {table_size}"
        raise ValueError(message)
    growth = (math.log(finest) - math.log(coarsest)) / max(levels - 1, 1)
    # 1e-9: the last level has `finest` cells, whatever the logarithm rounds off
    across = [math.floor(coarsest * math.exp(level * growth) + 1e-9) for level in range(levels)]
    # the last vertex is that behind the cell in which the domain ends: floor + 1, where ceil would be the same vertex
    # twice for a point on a vertex
    vertices = [math.floor(RADIUS * n + 0.5) + 2 for n in across]
    rows = [min(table_size, n**coordinates) for n in vertices]
    starts = [0, *itertools.accumulate(rows)][:-1]
    hashed = [n**coordinates > table_size for n in vertices]
    cells = tuple(n / 2 for n in across)
    return Grid(cells, tuple(vertices), tuple(rows), tuple(starts), tuple(hashed), coordinates)


def encode(points: Array, entries: Array, grid: Grid) -> Array:
    r"""Return the features of points: at each level, those of the cell's corners, smoothly interpolated.

    .. math:: \sum_{v \in \{0, 1\}^d} T[h(c + v)] \prod_k w_{v_k}(t_k), \qquad w_1(t) = t^2 (3 - 2 t) = 1 - w_0(t)

    with :math:`c` the cell in which the point lies and :math:`t` its place there. Inside of a cell that is a polynomial
    of degree 3 in each coordinate, and has all of its derivatives; where cells meet the first derivatives are
    continuous, the second jump.

    Args:
        points: Of shape ``(..., d)``.
        entries: The tables of all levels, of shape ``(grid.size, features)``.
        grid: The levels.

    Returns:
        The features, level by level, of shape ``(..., levels * features)``.
    """
    # a point beyond the grid has the value of the nearest that is in it; the ends belong to the grid, with their slope
    end = jnp.clip(jax.lax.stop_gradient(points), -RADIUS, RADIUS)
    inside = jnp.abs(points) <= RADIUS
    points = jnp.where(inside, points, end)[..., None, :]
    # half a cell of shift keeps the levels' vertices, where all slopes are 0, from falling together (appendix A)
    position = (points + RADIUS) * _column(grid.cells, points) + 0.5
    # floor, which rounds down below 0 too; float32 may round a point at the end into the cell behind the last
    last = _column([n - 2 for n in grid.vertices], points)
    cell = jnp.clip(cell_of(position), 0, last)
    place = position - cell
    smooth = (place * place * (3 - 2 * place))[..., None, :]
    bits = np.array(list(itertools.product((0, 1), repeat=grid.coordinates)), np.uint32)
    bits = bits.reshape((1,) * (smooth.ndim - 2) + bits.shape)
    # weight and row of every corner, of shape (..., levels, corners)
    sides = jnp.where(bits == 1, smooth, 1 - smooth)
    weight = sides[..., 0]
    for axis in range(1, grid.coordinates):
        weight = weight * sides[..., axis]
    rows = _rows(cell.astype(jnp.uint32)[..., None, :] + bits, grid)
    corners = _sharding.read(entries, rows, mode="promise_in_bounds").astype(points.dtype)
    features = jnp.sum(weight[..., None] * corners, axis=-2)
    return features.reshape(*features.shape[:-2], -1)


def _rows(vertex: Array, grid: Grid) -> Array:
    """Return the entry of every vertex, of shape ``(..., levels, corners)``, from ``(..., levels, corners, d)``."""
    own = hashed = jnp.zeros(vertex.shape[:-1], jnp.uint32)
    for axis in range(grid.coordinates):
        along = vertex[..., axis]
        # modulo 2**32, as uint32 has it; where vertices have entries of their own nothing is that large
        own = own + along * _column([n**axis % 2**32 for n in grid.vertices], own)
        hashed = hashed ^ (along * np.uint32(PRIMES[axis]))
    row = jnp.where(_column(grid.hashed, own) == 1, hashed % _column(grid.rows, own), own)
    return (row + _column(grid.starts, own)).astype(jnp.int32)


def _column(of_levels: Sequence[float], like: Array) -> np.ndarray:
    """Return a number a level along the last axis but one of an array, in its dtype."""
    return np.array(of_levels, like.dtype).reshape((1,) * (like.ndim - 2) + (-1, 1))
