"""Iterations that solve a linear system by products: conjugate gradients, and the Neumann series."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _sharding, _tree
from jaxgrad._types import Array, Tree
from jaxgrad.curvature._engine import _stacks
from jaxgrad.curvature._engine._lanczos import lanczos, tridiagonal
from jaxgrad.curvature._engine._symmetric import Times

__all__ = ["Course", "conjugate_gradients", "neumann"]

BOUND = 8
"""How many products find the largest eigenvalue, by which the Neumann series is scaled."""


class Course(NamedTuple):
    """How an iteration went."""

    products: Array
    indefinite: Array
    """Whether a direction without positive curvature was met."""


class _Carry(NamedTuple):
    x: Tree
    residual: Tree
    direction: Tree
    slope: Array
    steepest: Array
    """The largest curvature along a direction so far: never above the largest eigenvalue."""
    course: Course


def conjugate_gradients(apply: Times, rhs: Tree, precondition: Times, limit: Array, most: int) -> tuple[Tree, Course]:
    """Solve from zero, until the norm of the residual is not above ``limit``.

    A direction without positive curvature ends it, and the point before is returned, as Steihaug has it.

    It is written out here, for lineax 0.1.1 (with jax 0.10 and 0.12) goes on through a direction of negative curvature
    and says that all went well, raises where a solve that ended early is differentiated, ``throw=False`` or not, and
    is refused in a `jax.shard_map` with its checks on: its loop starts from zeros that vary over no axis.
    """
    first = precondition(rhs)
    slope = _tree.dot(rhs, first)
    # made of the slope, they lie on its mesh: mapped over an Explicit axis, a loop can carry nothing that lies on none
    course = Course(jnp.zeros_like(slope, int), jnp.zeros_like(slope, bool))
    carry = _Carry(_zero_or_unknown(rhs), rhs, first, slope, jnp.zeros_like(slope), course)

    def goes_on(carry: _Carry) -> Array:
        # of NaN both comparisons are false, and the iteration ends
        far = (_tree.norm(carry.residual) > limit) & (carry.slope > 0)
        return far & (carry.course.products < most) & ~carry.course.indefinite

    def step(carry: _Carry) -> _Carry:
        image = apply(carry.direction)
        curvature, square = _tree.dot(carry.direction, image), _tree.dot(carry.direction, carry.direction)
        # in the rounding of the largest curvature a step would be as long as one over a rounding: of a singular matrix
        # the direction is in its null space
        rounding = float(jnp.finfo(curvature.dtype).eps) * carry.steepest * square
        ends = curvature <= rounding
        steepest = jnp.maximum(carry.steepest, curvature / jnp.where(square > 0, square, 1))
        length = jnp.where(ends, 0, carry.slope / jnp.where(ends, 1, curvature))
        x = _stacks.axpy(length, carry.direction, carry.x)
        residual = _stacks.axpy(-length, image, carry.residual)
        ahead = precondition(residual)
        slope = _tree.dot(residual, ahead)
        direction = _stacks.axpy(slope / carry.slope, carry.direction, ahead)
        return _Carry(x, residual, direction, slope, steepest, Course(carry.course.products + 1, ends))

    carry = lax.while_loop(goes_on, step, _sharding.settled(step, carry))
    return carry.x, carry.course


def neumann(apply: Times, rhs: Tree, precondition: Times | None, limit: Array, most: int) -> tuple[Tree, Course]:
    """Solve from zero by ``x <- x + M (b - A x)``, with M one over the largest eigenvalue where none is given.

    With any smaller M the series converges slowly, and with one twice as large not at all.
    """
    least, largest, used = _ends(apply, rhs, most)
    course = Course(jnp.full_like(least, used, int), least < 0)

    def advance(residual: Tree) -> Tree:
        return _stacks.scaled(residual, 1 / largest) if precondition is None else precondition(residual)

    def goes_on(carry: tuple[Tree, Tree, Course]) -> Array:
        _, residual, course = carry
        return (_tree.norm(residual) > limit) & (course.products < most)

    def step(carry: tuple[Tree, Tree, Course]) -> tuple[Tree, Tree, Course]:
        x, residual, course = carry
        x = _stacks.axpy(1.0, advance(residual), x)
        residual = jax.tree.map(jnp.subtract, rhs, apply(x))
        return x, residual, course._replace(products=course.products + 1)

    carry = _zero_or_unknown(rhs), rhs, course
    x, _, course = lax.while_loop(goes_on, step, _sharding.settled(step, carry))
    return x, course


def _zero_or_unknown(rhs: Tree) -> Tree:
    """Return zeros; NaN where the norm of the right-hand side is infinite or NaN, of which no iteration is made."""
    known = jnp.isfinite(_tree.norm(rhs))
    return jax.tree.map(lambda leaf: jnp.where(known, jnp.zeros_like(leaf), jnp.full_like(leaf, jnp.nan)), rhs)


def _ends(apply: Times, rhs: Tree, most: int) -> tuple[Array, Array, int]:
    """Return a number below zero where the matrix is indefinite, one not below its largest eigenvalue, and the cost."""
    steps = min(BOUND, most, _stacks.size(rhs))
    # a right-hand side of zeros has no direction
    start = jax.tree.map(lambda leaf: jnp.where(_tree.norm(rhs) > 0, leaf, jnp.ones_like(leaf)), rhs)
    space = lanczos(apply, start, steps)
    ritz, weights = jnp.linalg.eigh(tridiagonal(space))
    rounding = 10 * float(jnp.finfo(ritz.dtype).eps) * jnp.max(jnp.abs(ritz))
    return ritz[0] + rounding, ritz[-1] + jnp.abs(space.beside[-1] * weights[-1, -1]), steps
