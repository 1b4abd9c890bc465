"""The rule of a power whose exponent is an operand, with the care that a base of zero takes."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from jaxgrad._jaxpr import bind
from jaxgrad.nth._engine._elementwise import logarithm, solve, unary
from jaxgrad.nth._engine._registry import Mode, rule
from jaxgrad.nth._engine._series import (
    Series,
    add,
    cauchy,
    constant,
    instantiate,
    integral,
    is_constant,
    product,
    slopes,
    square,
)

__all__ = ["power_of_zero"]


@rule("pow")
def general_power(eqn: Any, operands: list[Series], mode: Mode) -> Sequence[Series]:
    """Raise to a number, by recurrence, or to a moving exponent.

    A whole number that is known when the function is traced is multiplied out, which is exact at a base of zero.
    """
    del mode, eqn
    u, w = operands
    value = _raised(*jnp.broadcast_arrays(u[0], jnp.asarray(w[0]).astype(u[0].dtype)))
    if not is_constant(w):
        return [_moving_power(value, u, w)]
    whole = _known_whole(w[0])
    return [constant_power(value, u, w[0]) if whole is None else (value, *whole_power(u, whole)[1:])]


@jax.custom_jvp
def _raised(x: Any, exponent: Any) -> Any:
    """Raise to a power, as the primitive does; of the exponent zero it is a constant, whose slope is a zero.

    The primitive's slope is ``p x^(p-1)``: no number, at zero, for the exponent zero, and so for every whole exponent
    that derivatives bring down to it.
    """
    return lax.pow(x, exponent)


def _slope_of_raised(primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return the power and its tangent; the logarithm of a base, which may be negative, where the exponent moves."""
    (x, exponent), (along_x, along_exponent) = primals, tangents
    value, parts = _raised(x, exponent), []
    if not isinstance(along_x, SymbolicZero):
        ends = exponent == 0
        below = _raised(jnp.where(ends, jnp.ones_like(x), x), exponent - 1)
        parts.append(along_x * jnp.where(ends, jnp.zeros_like(x), exponent * below))
    if not isinstance(along_exponent, SymbolicZero):
        # as the primitive has it, the logarithm of zero counts as zero
        parts.append(along_exponent * lax.log(jnp.where(x == 0, jnp.ones_like(x), x)) * value)
    total = add(*parts)
    return value, jnp.zeros_like(value) if total is None else total


_raised.defjvp(_slope_of_raised, symbolic_zeros=True)


@jax.custom_jvp
def power_of_zero(x: Any, exponent: Any) -> Any:
    """Raise zero to a whole number; for any other exponent zero, so that nothing infinite spoils a gradient.

    It is called at every ``x``, and chosen where that is zero. The slope by the exponent counts as zero, as the
    primitive has it.
    """
    return jnp.broadcast_to(exponent == 0, jnp.broadcast_shapes(jnp.shape(x), jnp.shape(exponent))).astype(x.dtype)


@power_of_zero.defjvp
def _slope_of_power_of_zero(primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Any, Any]:
    x, exponent = primals
    return power_of_zero(x, exponent), tangents[0] * exponent * power_of_zero(x, exponent - 1)


def _known_whole(exponent: Any) -> int | None:
    """Return an exponent that is known when the function is traced, and a whole number of zero or more."""
    if np.ndim(exponent) or isinstance(exponent, jax.core.Tracer):
        return None
    number = complex(exponent)
    return int(number.real) if number.imag == 0 and number.real >= 0 and number.real.is_integer() else None


def _moving_power(value: Any, u: Series, w: Series) -> Series:
    """Return ``exp(w log u)``; at a base of zero what the primitive's jvp says, where ``log u`` counts as zero."""
    zero = u[0] == 0
    base = jnp.where(zero, jnp.ones_like(u[0]), u[0])
    logarithms = product(w, logarithm(lax.log(base), (base, *u[1:])))
    away = solve(jnp.where(zero, jnp.ones_like(value), value), logarithms, lambda y, k: y[k])
    edge = constant(jnp.zeros_like(value), len(u) - 1) if is_constant(u) else _power_at_zero(u, w, jnp.shape(value))
    return (value, *[_select(zero, at_zero, c) for at_zero, c in zip(edge[1:], away[1:], strict=True)])


def _select(zero: Any, at_zero: Any, away: Any) -> Any:
    """Choose between two coefficients, where one at least is no known zero."""
    if at_zero is None and away is None:
        return None
    stored = away if at_zero is None else at_zero
    at_zero, away = [jnp.zeros_like(stored) if c is None else c for c in (at_zero, away)]
    return jnp.where(zero, at_zero, away)


def _power_at_zero(u: Series, w: Series, shape: tuple[int, ...]) -> Series:
    """Solve ``Y_p' = (w - p) Y_{p+1} u'`` for the powers ``Y_p = u^(w-p)``, one a row, where ``u`` is zero.

    Row ``p`` is right up to degree ``n - p``, which is all that the row above it reads.
    """
    u, w = _with_rows(u, shape), _with_rows(w, shape)
    zero = u[0] == 0
    powers = w[0] - jnp.arange(len(u), dtype=w[0].dtype).reshape(-1, *[1] * len(shape))
    base = jnp.broadcast_to(jnp.where(zero, u[0], jnp.ones_like(u[0])), powers.shape)
    values = power_of_zero(u[0], powers) if is_constant(w) else _raised(base, powers)
    values = jnp.where(zero, values, jnp.zeros_like(values))
    rows, factor, slope = [values], (powers, *w[1:]), slopes(u)
    below: list[Any] = []
    weights: list[Any] = []
    for k in range(1, len(u)):
        last = rows[-1]
        below.append(None if last is None else jnp.concatenate([last[1:], jnp.zeros_like(last[:1])]))
        weights.append(cauchy(factor, tuple(below), k - 1))
        rows.append(integral(slope, weights, k))
    return tuple(None if row is None else row[0] for row in rows)


def _with_rows(series: Series, shape: tuple[int, ...]) -> Series:
    """Give every coefficient a shape, with an axis of rows before it."""
    return tuple(None if c is None else jnp.broadcast_to(c, shape)[None] for c in series)


def whole_power(u: Series, n: int) -> Series:
    """Multiply by repeated squaring, exact at a base of zero."""
    degrees = range(len(u))
    if n == 0:
        return constant(jnp.ones_like(u[0]), len(u) - 1)
    if n == 1:
        return u
    half = whole_power(u, n // 2)
    even = tuple(square(half, k) for k in degrees)
    return even if n % 2 == 0 else tuple(cauchy(even, u, k) for k in degrees)


def constant_power(value: Any, u: Series, exponent: Any) -> Series:
    """Solve ``u y' = p u' y``, by limits at a base of zero."""
    exponent = jnp.asarray(exponent).astype(u[0].dtype)
    zero = u[0] == 0
    base = jnp.where(zero, jnp.ones_like(u[0]), u[0])
    y = [value]
    for k in range(1, len(u)):
        terms = [None if u[j] is None else (exponent * j - (k - j)) * (u[j] * y[k - j]) for j in range(1, k + 1)]
        total = add(*terms)
        y.append(jnp.zeros_like(base) if total is None else total / (k * base))
    at_zero = _limits(value, u, exponent)
    if not all(c is None for c in u[2:]):
        exact = instantiate(_power_at_zero(u, constant(exponent, len(u) - 1), jnp.shape(value)))
        at_zero = [jnp.where(_is_whole(exponent), row, limit) for row, limit in zip(exact[1:], at_zero, strict=True)]
    return (value, *[jnp.where(zero, edge, away) for edge, away in zip(at_zero, y[1:], strict=True)])


def _is_whole(exponent: Any) -> Any:
    """Say where an exponent is a whole number of zero or more."""
    return (exponent.real >= 0) & (jnp.floor(exponent.real) == exponent.real) & (jnp.imag(exponent) == 0)


def _limits(value: Any, u: Series, exponent: Any) -> list[Any]:
    """Return ``binom(p, k) 0^(p-k) u_1^k``: degree k where the base is zero, and zero where it is not.

    That is so for an exponent that is negative or no whole number, and for every exponent on a straight line.
    """
    limits, zero, whole = [], u[0] == 0, _is_whole(exponent)
    binomial, power = jnp.ones_like(u[0]), jnp.ones_like(u[0])
    for k in range(1, len(u)):
        binomial = binomial * (exponent - (k - 1)) / k
        power = power * (jnp.zeros_like(u[0]) if u[1] is None else u[1])
        ends = zero & whole & (exponent.real >= k)
        finite = jnp.where(ends, binomial * power_of_zero(u[0], exponent - k) * power, 0)
        # what is infinite is a constant: its slopes would spoil the gradients of the orders below
        endless = zero & ~whole & (exponent.real < k)
        infinity = jnp.where(endless, jnp.sign(binomial.real) * jnp.inf, 0).astype(value.dtype)
        infinite = lax.stop_gradient(jnp.where(endless, infinity * power, 0))
        limits.append(jnp.broadcast_to(finite + infinite, value.shape).astype(value.dtype))
    return limits


@rule("integer_pow", pointwise=True)
def integer_power(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Raise to a whole number that the primitive holds."""
    del mode
    (u,), n = operands, eqn.params["y"]
    if n >= 0:
        return [whole_power(u, n)]
    return [constant_power(bind(eqn, u[0])[0], u, n)]


unary("cbrt")(lambda value, u: constant_power(value, u, 1 / 3))
