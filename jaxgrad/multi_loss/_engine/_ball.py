r"""The vector of a ball with the best worst slope: :math:`\max_d \min_k g_k \cdot d`, :math:`\|d - c\| \le r`.

For a level :math:`\lambda`, the vector nearest to the centre with :math:`g_k \cdot d \ge \lambda` for all rows is
:math:`c + \sum_k z_k g_k`, where :math:`z \ge 0` solves the program of `nearest`. Its distance grows with the level.
The highest level that the ball reaches is the best worst slope. On a support the square of the distance is a quadratic
function of the level, so that the level is known in closed form.

For any :math:`z \ge 0` at all, :math:`(r \|\sum_k z_k g_k\| + z \cdot J c) / z \cdot s` is a level that no vector of
the ball exceeds. With the :math:`z` of a level that is too high it is Newton's step on the distance, a convex function:
the levels fall to the one that is looked for, from above.

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
from jaxgrad.multi_loss._engine._cone import is_stationary, moving, unit_of
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
    found = find(jax.tree.map(lax.stop_gradient, program), unit)
    rhs = program.rhs(program.level_near(found))
    size = unit_of(rhs)
    added = size * moving(unit.cosines, rhs / size, found.point / size)
    return scale * jnp.where(reach > 0, added, jnp.zeros_like(added))


class _Found(NamedTuple):
    """The solution as constants."""

    level: Array
    point: Array
    """What is added to the centre, by row, none negative."""
    is_stuck: Array
    """Whether the level is 0 within the ball, and does not move with it."""


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

    def level_near(self, found: _Found) -> Array:
        """Return the level as it moves with the program, in closed form on the support that was found."""
        inverted = inverse_within(self.cosines, found.point > 0)
        level, exists = self.level(*(refined(self.cosines, inverted, rhs) for rhs in (self.shares, self.centre)))
        # of a support with rows that depend on each other the closed form is that of some, and may be another level
        is_near = jnp.abs(level - found.level) <= rounding(self.cosines) ** 0.5 * (1 + jnp.abs(found.level))
        beside = found.level + level - lax.stop_gradient(level)
        return jnp.where(found.is_stuck | ~exists, found.level, jnp.where(is_near, level, beside))

    def rhs(self, level: Array) -> Array:
        """Return the right-hand side of the program of a level."""
        return level * self.shares - self.centre

    def highest(self) -> Array:
        """Return a level that no vector of the ball exceeds: the best slope of each row alone."""
        longest = _tree.safe_sqrt(jnp.diagonal(self.cosines)) * self.reach
        return jnp.min((self.centre + longest) / self.shares)

    def bound(self, point: Array) -> Array:
        """Return the level that a weighted sum of the rows does not exceed in the ball; infinite without weights."""
        # what rounding may have taken from the length would make the bound too low
        square = point @ self.cosines @ point + rounding(self.cosines) * jnp.sum(point) ** 2
        asked = point @ self.shares
        best = self.reach * jnp.sqrt(jnp.maximum(square, jnp.zeros_like(square))) + point @ self.centre
        return jnp.where(asked > 0, best / jnp.where(asked > 0, asked, jnp.ones_like(asked)), jnp.inf)


def _of_all_supports(program: _Program, _unit: UnitRows) -> _Found:
    """Solve on all supports at once, and take the one that satisfies the conditions."""
    found = _supports.of_columns(program.cosines, jnp.stack([program.shares, program.centre]))
    per_level, at_zero = found.solutions[:, 0], found.solutions[:, 1]
    levels, exist = jax.vmap(program.level)(per_level, at_zero)

    def best_of(levels: Array, usable: Array) -> tuple[Array, Array, Array]:
        points = jnp.maximum(levels[:, None] * per_level - at_zero, jnp.zeros_like(per_level))
        rhs = jax.vmap(program.rhs)(levels)
        missed = jax.vmap(_supports.residual, (None, 0, 0))(program.cosines, rhs, points) / (1 + jnp.abs(levels))
        missed = jnp.where(usable & found.independent, missed, jnp.full_like(missed, jnp.inf))
        best = jnp.argmin(jnp.where(missed <= _supports.tolerance(program.cosines), jnp.zeros_like(missed), missed))
        return missed[best], levels[best], points[best]

    missed, level, point = best_of(levels, exist)
    _, zero, point_at_zero = best_of(jnp.zeros_like(levels), jnp.ones_like(exist))
    # a level that is missed by more than half the digits is none
    is_stuck = missed > rounding(program.cosines) ** 0.5
    return _Found(jnp.where(is_stuck, zero, level), jnp.where(is_stuck, point_at_zero, point), is_stuck)


class _Search(NamedTuple):
    """Where the search for the level stands."""

    level: Array
    """One that no vector of the ball exceeds."""
    point: Array
    """The solution of the program of the level before."""
    is_done: Array
    round: Array


def _of_levels(program: _Program, unit: UnitRows) -> _Found:
    """Go down from level to level, until one is as low as its own solution says that it must be."""
    is_still = is_stationary(unit)

    def step(search: _Search) -> _Search:
        rhs = program.rhs(search.level)
        scale = unit_of(rhs)
        point = scale * _gradients_of_program.solve(program.cosines, (rhs / scale)[None])[0]
        level = jnp.minimum(search.level, program.bound(point))
        lost = _supports.tolerance(program.cosines) * (1 + jnp.abs(level))
        # what is NaN will not become a number
        return _Search(level, point, ~(search.level - level > lost), search.round + 1)

    highest = program.highest()
    highest = jnp.where(is_still, jnp.minimum(highest, jnp.zeros_like(highest)), highest)
    start = _Search(highest, jnp.zeros_like(program.centre), jnp.zeros((), bool), jnp.zeros((), jnp.int32))
    start = _sharding.settled(step, start)
    found = lax.while_loop(lambda search: ~search.is_done & (search.round < ROUNDS), step, start)
    return _Found(found.level, found.point, is_still & (found.level >= 0))
