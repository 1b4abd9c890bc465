r"""The positive solution of :math:`A y = q\, y^{-p}`: the point where bargaining ends.

It is the minimum of a convex function, :math:`\tfrac12 y^\top A y - \sum_k q_k \phi(y_k)` with
:math:`\phi'(y) = y^{-p}`, found by Newton's method. The length of a step is the longest one along which the function is
known to fall: nothing is tried, and the method goes to the minimum from everywhere, as for self-concordant functions
(Nesterov and Nemirovskii, 1994), of which the one with p = 1 is the model.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _sharding
from jaxgrad._types import Array
from jaxgrad.multi_loss._engine._gram import rounding
from jaxgrad.multi_loss._engine._inverse import inverse
from jaxgrad.multi_loss._engine._supports import SLACK

__all__ = ["equilibrium"]

STEPS = 200
"""How many steps are made at most; some ten are."""


@jax.custom_jvp
def equilibrium(matrix: Array, amounts: Array, power: Array) -> Array:
    """Return the positive ``y`` with ``A y = q / y^p``.

    Args:
        matrix: Positive semi-definite, of shape ``(K, K)``; no positive combination of its rows may vanish.
        amounts: The positive ``q``, of shape ``(K,)``.
        power: The positive ``p``, of shape ``()``.
    """
    start = amounts ** (1 / (1 + power))
    # the best multiple of a first guess, which would be the solution for a matrix of ones on the diagonal alone
    product = jnp.maximum(start @ matrix @ start, rounding(matrix) * (start @ start))
    start *= (start @ start / product) ** (1 / (1 + power))

    def step(state: _State) -> _State:
        missing, hessian = _conditions(matrix, amounts, power, state.point)
        direction = -_solved(hessian, missing)
        most = jnp.maximum(jnp.max(jnp.abs(direction)), jnp.finfo(matrix.dtype).tiny)
        # for p = 1 it is 1 / (1 + most): see the text above
        length = -jnp.expm1(-jnp.log1p(power * most) / power) / most
        point = state.point * (1 + length * direction)
        lost = SLACK * rounding(matrix) * (point * (jnp.abs(matrix) @ point) + amounts * point ** (1 - power))
        # what is NaN will not become a number
        is_done = ~jnp.any(jnp.abs(_conditions(matrix, amounts, power, point)[0]) > lost)
        return _State(point, is_done, state.steps + 1)

    state = _State(start, jnp.zeros((), bool), jnp.zeros((), jnp.int32))
    state = _sharding.settled(step, state)
    return lax.while_loop(lambda state: ~state.is_done & (state.steps < STEPS), step, state).point


class _State(NamedTuple):
    """Where the search stands."""

    point: Array
    is_done: Array
    steps: Array


def _conditions(matrix: Array, amounts: Array, power: Array, point: Array) -> tuple[Array, Array]:
    """Return ``y (A y) - q y^(1 - p)``, which is to be zero, and its derivative by log y, but for what vanishes."""
    wanted = amounts * point ** (1 - power)
    hessian = point[:, None] * matrix * point[None] + jnp.diag(power * wanted)
    return point * (matrix @ point) - wanted, hessian


def _solved(hessian: Array, missing: Array) -> Array:
    """Solve a positive definite system whose diagonal may range widely."""
    root = lax.stop_gradient(jnp.sqrt(jnp.diagonal(hessian)))
    return inverse(hessian / root[:, None] / root[None]) @ (missing / root) / root


@equilibrium.defjvp
def _slope(primals: Any, tangents: Any) -> tuple[Array, Array]:
    """The implicit function theorem; written with the function itself, so that it has derivatives of any order."""
    (matrix, amounts, power), (matrix_dot, amounts_dot, power_dot) = primals, tangents
    point = equilibrium(matrix, amounts, power)
    _, hessian = _conditions(matrix, amounts, power, point)
    wanted_dot = (amounts_dot - amounts * jnp.log(point) * power_dot) * point ** (1 - power)
    missing = point * (matrix_dot @ point) - wanted_dot
    return point, -point * _solved(hessian, missing)
