r"""Accelerated projected gradients for :math:`\min_{z \ge 0} \tfrac12 z^\top A z - b^\top z`, with a certificate.

Nesterov's steps, begun anew where they climb (O'Donoghue and Candes, 2015). After some of them the support is known but
for a few entries, which Newton's steps on the conditions mend (Hintermueller, Ito and Kunisch, 2003): with the right
support the solution is exact.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _sharding
from jaxgrad._types import Array
from jaxgrad.multi_loss._engine import _supports
from jaxgrad.multi_loss._engine._gram import rounding
from jaxgrad.multi_loss._engine._inverse import inverse_within, refined

__all__ = ["duality_gap", "solve"]

STEPS = 32
"""How many steps of gradients are made between two looks at the support."""

NEWTON_STEPS = 4
"""How many supports are tried at each look at most; after the first steps of gradients one is mostly enough."""

LOOKS = 200
"""How many looks are taken at most: 6400 steps of gradients."""


def duality_gap(matrix: Array, rhs: Array, point: Array) -> Array:
    """Bound how far above the minimum a point is, in ``z.A z / 2 - b.z``.

    The function is convex: its slope at the point says by how much it can fall on the way to any other. The bound holds
    against all solutions whose entries sum to at most twice those of the point, or to the sum of the right-hand side's.
    """
    slack = matrix @ point - rhs
    most = jnp.maximum(2 * jnp.sum(point), jnp.sum(jnp.maximum(rhs, jnp.zeros_like(rhs))))
    return jnp.maximum(point @ slack, jnp.zeros_like(most)) + most * jnp.max(jnp.maximum(-slack, jnp.zeros_like(slack)))


class _State(NamedTuple):
    """Where the search for one right-hand side stands."""

    point: Array
    ahead: Array
    """The point that the momentum leads to, where the next slope is taken."""
    momentum: Array
    best: Array
    """The point with the smallest residual so far."""
    look: Array
    is_done: Array


def solve(matrix: Array, rhs: Array) -> Array:
    """Return a solution for every row of ``rhs``."""
    return jax.vmap(_solve_one, (None, 0))(matrix, rhs)


def _solve_one(matrix: Array, rhs: Array) -> Array:
    """Look, until the duality gap is rounding."""

    def look(state: _State) -> _State:
        moved = lax.fori_loop(0, STEPS, lambda _, state: _gradient_step(matrix, rhs, state), state)

        def mend(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            point = _newton_step(matrix, rhs, carry[0])
            return point, _better(matrix, rhs, carry[1], jnp.maximum(point, jnp.zeros_like(point))), carry[2] + 1

        def goes_on(carry: tuple[Array, Array, Array]) -> Array:
            return (carry[2] < NEWTON_STEPS) & ~_is_certain(matrix, rhs, carry[1])

        best = _better(matrix, rhs, moved.best, moved.point)
        _, best, _ = lax.while_loop(goes_on, mend, (moved.point, best, 0 * state.look))
        return moved._replace(best=best, look=state.look + 1, is_done=_is_certain(matrix, rhs, best))

    none = jnp.zeros_like(rhs)
    start = _State(none, none, jnp.ones((), rhs.dtype), none, jnp.zeros((), jnp.int32), jnp.zeros((), bool))
    start = _sharding.settled(look, start)
    return lax.while_loop(lambda state: ~state.is_done & (state.look < LOOKS), look, start).best


def _gradient_step(matrix: Array, rhs: Array, state: _State) -> _State:
    """Step down the slope at the point ahead, of the length that the largest sum of a row allows, and look ahead."""
    length = 1 / jnp.max(jnp.sum(jnp.abs(matrix), axis=1), initial=1.0)
    down = state.ahead - length * (matrix @ state.ahead - rhs)
    point = jnp.maximum(down, jnp.zeros_like(down))
    climbs = jnp.sum((state.ahead - point) * (point - state.point)) > 0
    grown = (1 + jnp.sqrt(1 + 4 * state.momentum**2)) / 2
    ahead = point + (state.momentum - 1) / grown * (point - state.point)
    return state._replace(
        point=point,
        ahead=jnp.where(climbs, point, ahead),
        momentum=jnp.where(climbs, jnp.ones_like(grown), grown),
    )


def _newton_step(matrix: Array, rhs: Array, point: Array) -> Array:
    """Solve on the rows that are positive, or would be after a step down the slope."""
    inside = point - (matrix @ point - rhs) > 0
    return refined(matrix, inverse_within(matrix, inside), rhs)


def _better(matrix: Array, rhs: Array, best: Array, point: Array) -> Array:
    """Return the point with the smaller residual."""
    is_better = _supports.residual(matrix, rhs, point) < _supports.residual(matrix, rhs, best)
    return jnp.where(is_better, point, best)


def _is_certain(matrix: Array, rhs: Array, point: Any) -> Array:
    """Say whether the duality gap is what is lost to rounding when it is computed."""
    total = jnp.sum(point)
    lost = _supports.SLACK * rounding(matrix) * total * (jnp.max(jnp.abs(rhs)) + total)
    # what is NaN will not become a number
    return ~(duality_gap(matrix, rhs, point) > lost)
