"""The rule of a power whose exponent is an operand, with the care that a base of zero takes."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

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

__all__: list[str] = []


@rule("pow")
def general_power(eqn: Any, operands: list[Series], mode: Mode) -> Sequence[Series]:
    """Raise to a number, by recurrence, or to a moving exponent.

    A whole number that is known when the function is traced is multiplied out, which is exact at a base of zero.
    """
    del mode
    u, w = operands
    value = bind(eqn, u[0], w[0])[0]
    if not is_constant(w):
        return [_moving_power(value, u, w)]
    whole = _known_whole(w[0])
    return [constant_power(value, u, w[0]) if whole is None else (value, *whole_power(u, whole)[1:])]


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
    # away from zero no infinity is formed: it would spoil gradients; a whole power ends before it is negative
    asked = zero & (powers.real >= 0) if is_constant(w) else zero
    base, exponents = jnp.where(zero, u[0], jnp.ones_like(u[0])), jnp.where(asked, powers, jnp.ones_like(powers))
    values = lax.pow(jnp.broadcast_to(base, exponents.shape), exponents)
    rows, factor, slope = [jnp.where(zero, values, jnp.zeros_like(values))], (powers, *w[1:]), slopes(u)
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
    at_zero = _limits(value, u, exponent.real)
    if not all(c is None for c in u[2:]):
        whole = (exponent.real >= 0) & (jnp.floor(exponent.real) == exponent)
        exact = instantiate(_power_at_zero(u, constant(exponent, len(u) - 1), jnp.shape(value)))
        at_zero = [jnp.where(whole, row, limit) for row, limit in zip(exact[1:], at_zero, strict=True)]
    return (value, *[jnp.where(zero, edge, away) for edge, away in zip(at_zero, y[1:], strict=True)])


def _limits(value: Any, u: Series, exponent: Any) -> list[Any]:
    """Return ``binom(p, k) 0^(p-k) u_1^k``: degree k where the base is zero, and zero where it is not.

    That is so for an exponent that is negative or no whole number, and for every exponent on a straight line.
    """
    limits, binomial, zero = [], jnp.ones_like(exponent), u[0] == 0
    for k in range(1, len(u)):
        binomial = binomial * (exponent - (k - 1)) / k
        # nothing infinite is formed away from zero, nor differentiated by the exponent: it would spoil gradients
        infinite = jnp.where(zero & (exponent < k), jnp.sign(lax.stop_gradient(binomial)), 0)
        infinite = jnp.where(infinite == 0, 0, infinite * jnp.inf)
        limit = (jnp.where(zero & (exponent == k), binomial, 0) + infinite).astype(value.dtype)
        # a limit of zero is a zero whatever the slope
        edge = jnp.where(limit == 0, 0, limit * (0 if u[1] is None else u[1] ** k))
        limits.append(jnp.broadcast_to(edge, value.shape).astype(value.dtype))
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
