r"""The vector of a ball with the best worst slope: :math:`\max_d \min_k g_k \cdot d`, :math:`\|d - c\| \le r`.

For a level :math:`\lambda`, the vector nearest to the centre with :math:`g_k \cdot d \ge \lambda` for all rows is
:math:`c + \sum_k z_k g_k`, where :math:`z \ge 0` solves the program of `nearest`. Its distance grows with the level.
The highest level that the ball reaches is the best worst slope. On a support the square of the distance is a quadratic
function of the level, so that the level is known in closed form.

Where some weighted mean of the rows is zero no level above 0 is reached, however large the ball: then, of the vectors
that harm no loss, the nearest to the centre is taken.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _sharding, _tree
from jaxgrad._types import Array
from jaxgrad.multi_loss._engine import _gradients_of_program, _supports
from jaxgrad.multi_loss._engine._cone import is_stationary, unit_of
from jaxgrad.multi_loss._engine._gram import UnitRows, rounding
from jaxgrad.multi_loss._engine._inverse import inverse_within, refined

__all__ = ["farthest_fair"]

ROUNDS = 60
"""How many levels are tried at most, beyond `_supports.MOST` rows; some ten are, before the level is known."""


def farthest_fair(unit: UnitRows, start: Array, radius: Array) -> Array:
    r"""Return what is added to a centre to reach the vector with the best worst slope in a ball around it.

    Args:
        unit: The rows.
        start: The weights of the centre, for rows of length 1, of shape ``(K,)``.
        radius: The radius of the ball in units of the length of the centre.

    Returns:
        Weights, for rows of length 1, of shape ``(K,)``, not negative.
    """
    scale = unit_of(start)
    centre = unit.cosines @ (start / scale)
    reach = radius * _tree.safe_sqrt(centre @ (start / scale))
    program = _Program(unit.cosines, unit.shares(), centre, reach)
    find = _of_all_supports if len(unit.cosines) <= _supports.MOST else _of_levels
    inside, is_stuck = find(jax.tree.map(lax.stop_gradient, program), unit)
    inverted = inverse_within(unit.cosines, inside)
    per_level, at_zero = (refined(unit.cosines, inverted, rhs) for rhs in (program.shares, centre))
    level = jnp.where(is_stuck, jnp.zeros_like(reach), program.level(per_level, at_zero)[0])
    added = level * per_level - at_zero
    is_moved = (added > 0) & (reach > 0)
    return scale * jnp.where(is_moved, added, jnp.zeros_like(added))


class _Program(NamedTuple):
    """The rows, and the ball around a centre."""

    cosines: Array
    shares: Array
    """The slopes that a level asks of rows of length 1, in units of the largest."""
    centre: Array
    """The products of the rows with the centre."""
    reach: Array
    """The radius of the ball."""

    def level(self, per_level: Array, at_zero: Array) -> tuple[Array, Array]:
        """Return the level at which a support leaves the ball, and whether there is one.

        ``z = level per_level - at_zero``, and ``z.C z = reach^2`` is an equation of second degree, whose larger root is
        the one where ``z`` grows.
        """
        square, linear = per_level @ self.shares, per_level @ self.centre
        discriminant = linear**2 - square * (at_zero @ self.centre - self.reach**2)
        exists = (square > 0) & (discriminant >= 0)
        root = _tree.safe_sqrt(jnp.where(exists, discriminant, jnp.zeros_like(discriminant)))
        return (linear + root) / jnp.where(exists, square, jnp.ones_like(square)), exists

    def rhs(self, level: Array) -> Array:
        """Return the right-hand side of the program of a level."""
        return level * self.shares - self.centre


def _of_all_supports(program: _Program, _unit: UnitRows) -> tuple[Array, Array]:
    """Return the support of the solution, and whether it is the one of level 0, within the ball."""
    found = _supports.of_columns(program.cosines, jnp.stack([program.shares, program.centre]))
    per_level, at_zero = found.solutions[:, 0], found.solutions[:, 1]
    levels, exist = jax.vmap(program.level)(per_level, at_zero)

    def best_of(levels: Array, usable: Array) -> tuple[Array, Array]:
        points = jnp.maximum(levels[:, None] * per_level - at_zero, jnp.zeros_like(per_level))
        rhs = jax.vmap(program.rhs)(levels)
        missed = jax.vmap(_supports.residual, (None, 0, 0))(program.cosines, rhs, points) / (1 + jnp.abs(levels))
        missed = jnp.where(usable & found.independent, missed, jnp.full_like(missed, jnp.inf))
        best = jnp.argmin(jnp.where(missed <= _supports.tolerance(program.cosines), jnp.zeros_like(missed), missed))
        return missed[best], jnp.asarray(found.inside)[best]

    missed, support = best_of(levels, exist)
    _, support_at_zero = best_of(jnp.zeros_like(levels), jnp.ones_like(exist))
    # a level that is missed by more than half the digits is none
    is_stuck = missed > rounding(program.cosines) ** 0.5
    return jnp.where(is_stuck, support_at_zero, support), is_stuck


class _Search(NamedTuple):
    """Where the search for the level stands."""

    level: Array
    low: Array
    """The highest level known to be within the ball."""
    high: Array
    """The lowest level known to be out of it."""
    inside: Array
    is_done: Array
    round: Array


def _of_levels(program: _Program, unit: UnitRows) -> tuple[Array, Array]:
    """Go from level to level, each in closed form on the support of the one before, within what is known."""

    def support(level: Array) -> tuple[Array, Array]:
        rhs = program.rhs(level)
        scale = unit_of(rhs)
        point = scale * _gradients_of_program.solve(program.cosines, (rhs / scale)[None])[0]
        first = jnp.arange(len(point)) == jnp.argmin(program.centre / program.shares)
        return jnp.where(jnp.any(point > 0), point > 0, first), point @ program.cosines @ point

    def step(search: _Search) -> _Search:
        inside, square = support(search.level)
        is_within = square < program.reach**2
        low = jnp.where(is_within, jnp.maximum(search.low, search.level), search.low)
        high = jnp.where(is_within, search.high, jnp.minimum(search.high, search.level))
        inverted = inverse_within(program.cosines, inside)
        per_level, at_zero = (refined(program.cosines, inverted, rhs) for rhs in (program.shares, program.centre))
        level, exists = program.level(per_level, at_zero)
        lost = _supports.tolerance(program.cosines) * (1 + jnp.abs(level))
        is_known = exists & (jnp.abs(level - search.level) <= lost)
        is_between = exists & (level > low) & (level < high)
        middle = jnp.where(jnp.isfinite(low) & jnp.isfinite(high), (low + high) / 2, level)
        after = jnp.where(is_between, level, middle)
        return _Search(after, low, high, inside, is_known, search.round + 1)

    is_still, zero = is_stationary(unit), jnp.zeros_like(program.reach)
    inside, square = support(zero)
    is_stuck = is_still & (square <= program.reach**2)
    start = _Search(zero, zero - jnp.inf, zero + jnp.inf, inside, is_stuck, jnp.zeros((), jnp.int32))
    start = _sharding.settled(step, start)
    found = lax.while_loop(lambda search: ~search.is_done & (search.round < ROUNDS), step, start)
    return found.inside, is_stuck
