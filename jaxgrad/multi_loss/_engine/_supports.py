r"""All supports of a small quadratic program at once.

Of :math:`\min_{z \ge 0} \tfrac12 z^\top A z - b^\top z` a solution is known by its support: there :math:`A z = b`, and
:math:`z = 0` elsewhere. Some solution has a support of independent rows (Caratheodory), so that to solve the systems of
all of them, and to look which satisfies the conditions, is exact.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgrad import _sharding
from jaxgrad._types import Array
from jaxgrad.multi_loss._engine._gram import rounding

__all__ = ["MOST", "Supports", "of_columns", "residual", "solve", "tolerance"]

MOST = 8
"""How many rows have all their supports, 256 of 8, tried."""

SLACK = 8
"""Of how many roundings of a sum the conditions may be missed."""


def tolerance(matrix: Array) -> float:
    """Return what of the conditions of optimality is rounding, where the right-hand side is of size 1."""
    return SLACK * rounding(matrix)


def residual(matrix: Array, rhs: Array, point: Array) -> Array:
    """Return the largest miss of ``z >= 0``, ``A z - b >= 0``, and that one of the two is zero."""
    return jnp.max(jnp.abs(jnp.minimum(point, matrix @ point - rhs)))


class Supports(NamedTuple):
    """What solves ``A z = b`` on every support, a subset before the sets that hold it."""

    inside: np.ndarray
    """Which rows belong to each support, of shape ``(2^K, K)``."""
    independent: Array
    """Whether the rows of a support are independent, of shape ``(2^K,)``."""
    solutions: Array
    """Of shape ``(2^K, M, K)``, zero outside of a support."""


def of_columns(matrix: Array, rhs: Array) -> Supports:
    """Solve on every support, for every row of ``rhs``: elimination of all at a time, in the order of the rows."""
    count, least = len(matrix), rounding(matrix) * jnp.diagonal(matrix)
    inside = (np.arange(2**count)[:, None] >> np.arange(count)[None]) % 2 == 1

    def eliminate(k: Any, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        table, independent = carry
        pivot, is_own = table[:, k, k], (jnp.arange(count) == k)[None, :, None]
        usable, belongs = pivot > least[k], jnp.asarray(inside)[:, k]
        row = table[:, k] / jnp.where(usable, pivot, jnp.ones_like(pivot))[:, None]
        swept = jnp.where(is_own, row[:, None], table - table[:, :, k, None] * row[:, None])
        return jnp.where(belongs[:, None, None], swept, table), independent & (usable | ~belongs)

    whole = jnp.concatenate([matrix, rhs.T], axis=1)
    start = (jnp.broadcast_to(whole, (2**count, *whole.shape)), jnp.ones(2**count, bool))
    start = _sharding.settled(lambda carry: eliminate(0, carry), start)
    table, independent = lax.fori_loop(0, count, eliminate, start)
    solved = jnp.swapaxes(table[:, :, count:], 1, 2)
    return Supports(inside, independent, jnp.where(inside[:, None], solved, jnp.zeros_like(solved)))


def solve(matrix: Array, rhs: Array) -> Array:
    """Return, for every row of ``rhs``, the solution of the first support that satisfies the conditions best."""
    found = of_columns(matrix, rhs)
    points = jnp.maximum(found.solutions, jnp.zeros_like(found.solutions))
    misses = jax.vmap(jax.vmap(residual, (None, 0, 0)), (None, None, 0))(matrix, rhs, points)
    misses = jnp.where(found.independent[:, None], misses, jnp.full_like(misses, jnp.inf))
    misses = jnp.where(misses <= tolerance(matrix), jnp.zeros_like(misses), misses)
    best = jnp.argmin(misses, axis=0)
    return jax.vmap(lambda options, chosen: options[chosen], (1, 0))(points, best)
