r"""The quadratic program over the orthant: :math:`\min_{z \ge 0} \tfrac12 z^\top A z - b^\top z`."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad._types import Array
from jaxgrad.multi_loss._engine import _gradients_of_program, _supports
from jaxgrad.multi_loss._engine._gram import UnitRows, rounding
from jaxgrad.multi_loss._engine._inverse import inverse_within

__all__ = ["is_stationary", "moving", "nearest", "shortest", "unit_of"]


def nearest(matrix: Array, rhs: Array) -> Array:
    r"""Minimise :math:`\tfrac12 z^\top A z - b^\top z` over :math:`z \ge 0`, for each of several :math:`b`.

    Up to `_supports.MOST` rows the solution is the one of all supports, of which there are 2^K, that satisfies the
    conditions of optimality: exact. Beyond that it is found by accelerated gradients. The derivative is that of the
    linear system on the support, by the implicit function theorem, of any order; where a support is about to change
    it is that of the smaller one.

    Args:
        matrix: Positive semi-definite, of shape ``(K, K)``, of diagonal entries near 1 (`of_unit_rows`) or 0.
        rhs: One :math:`b` a row, of shape ``(M, K)``, of any size, in the range of the matrix: the minimum is then
            attained.

    Returns:
        Solutions, of shape ``(M, K)``. Where rows depend on each other there are many, of which :math:`A z` is the
        same.
    """
    unit = jax.vmap(unit_of)(rhs)[:, None]
    return unit * jax.vmap(moving, (None, 0, 0))(matrix, rhs / unit, _solved(matrix, rhs / unit))


def _solved(matrix: Array, rhs: Array) -> Array:
    """Solve for each of several right-hand sides of size 1, as constants."""
    solve = _supports.solve if len(matrix) <= _supports.MOST else _gradients_of_program.solve
    return solve(lax.stop_gradient(matrix), lax.stop_gradient(rhs))


def unit_of(values: Array) -> Array:
    """Return the largest magnitude, as a constant; 1 where all are zero."""
    largest = lax.stop_gradient(jnp.max(jnp.abs(values)))
    return jnp.where(largest > 0, largest, jnp.ones_like(largest))


def moving(matrix: Array, rhs: Array, start: Array) -> Array:
    """Let a solution move with its program, the support held; a step of refinement on the way."""
    inside = start > 0
    moved = start + inverse_within(matrix, inside) @ (rhs - matrix @ start)
    moved = jnp.where(inside & (moved > 0), moved, jnp.zeros_like(moved))
    # where the loop of gradients has ended at its limit, the system of its support is not to be trusted
    better = _supports.residual(matrix, rhs, moved) <= jnp.maximum(
        _supports.residual(matrix, rhs, start), _supports.tolerance(matrix)
    )
    return jnp.where(better, moved, start + (moved - lax.stop_gradient(moved)))


def shortest(unit: UnitRows) -> Array:
    r"""Return the weights, of sum 1, of the shortest weighted mean of the rows.

    .. math:: \min_{w \ge 0, \sum w = 1} \|J^\top w\|^2

    Every row is given one more coordinate, the same for all, as long as the shortest row is: the squared length of all
    means grows by that square, so that the best weights are what they were, and the program without the condition on
    their sum has a solution, a multiple of them.
    """
    shares = unit.shares()
    weights = nearest(_lifted(unit), shares[None])[0] * shares
    return weights / jnp.sum(weights)


def _lifted(unit: UnitRows) -> Array:
    """Return the cosines of the rows with one more coordinate, in units of the lengths that they had before."""
    shares = unit.shares()
    return unit.cosines + shares[:, None] * shares[None]


def is_stationary(unit: UnitRows) -> Array:
    """Say whether some weighted mean of the rows is zero, as far as their products can tell: no step lowers all losses.

    The square of the length of that mean is a difference of products, so that half the digits are lost.
    """
    weights = _solved(_lifted(unit), unit.shares()[None])[0]
    return weights @ lax.stop_gradient(unit.cosines) @ weights <= rounding(unit.cosines) * jnp.sum(weights) ** 2
