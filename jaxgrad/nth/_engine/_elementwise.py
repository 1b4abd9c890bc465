"""Rules of elementwise functions: the recurrence of the differential equation that each one solves.

Every value is the primitive's own, so it is as accurate as JAX's; the recurrences begin at degree 1.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from jaxgrad._jaxpr import bind
from jaxgrad.nth._engine._registry import Mode, rule
from jaxgrad.nth._engine._series import (
    Series,
    add,
    cauchy,
    integral,
    plus,
    scale,
    slopes,
    square,
    subtract,
)

__all__ = ["logarithm", "sine_and_cosine", "solve", "unary"]

Weight = Callable[[Sequence[Any], int], Any]


FIRST_STORED = 4
"""The first coefficient that is stored before it is read again."""


def solve(value: Any, u: Series, weight: Weight) -> Series:
    """Solve ``y' = w u'``, where ``weight(y, k)`` is coefficient ``k`` of ``w`` from those of ``y`` up to ``k``."""
    slope, y, w, store = slopes(u), [value], [], storing(value, len(u) - 1)
    for k in range(1, len(u)):
        w.append(weight(y, k - 1))
        y.append(store(integral(slope, w, k), k))
    return tuple(y)


def storing(value: Any, order: int) -> Callable[[Any, int], Any]:
    """Return a function that makes XLA store coefficient ``k`` of a recurrence, where more of them follow.

    XLA works out products and sums again in every loop that reads them, never a quotient. Of order 20 the
    recurrence so takes half the time to run and to compile. The divisor is one, but XLA cannot see that.
    """
    one = lax.stop_gradient(jnp.where(value != value, value, jnp.ones_like(value))) if order > FIRST_STORED else None

    def store(coefficient: Any, k: int) -> Any:
        return coefficient / one if coefficient is not None and FIRST_STORED <= k < order else coefficient

    return store


def unary(name: str) -> Callable[[Any], Any]:
    """Enter the rule of a function of one operand, given as ``rule(value, u)``."""

    def enter(series: Callable[[Any, Series], Series]) -> Any:
        def apply(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
            del mode
            return [series(bind(eqn, operands[0][0])[0], operands[0])]

        rule(name, pointwise=True)(apply)
        return series

    return enter


def power(value: Any, u: Series, exponent: float) -> Series:
    """Raise to a constant power: ``u y' = p u' y``."""
    y = [value]
    for k in range(1, len(u)):
        terms = [
            None if u[j] is None or y[k - j] is None else scale(exponent * j - (k - j), u[j] * y[k - j])
            for j in range(1, k + 1)
        ]
        total = scale(1 / k, add(*terms))
        y.append(None if total is None else total / u[0])
    return tuple(y)


# functions whose derivative is a polynomial in themselves
unary("exp")(lambda value, u: solve(value, u, lambda y, k: y[k]))
unary("exp2")(lambda value, u: solve(value, u, lambda y, k: scale(math.log(2), y[k])))
unary("tanh")(lambda value, u: solve(value, u, lambda y, k: subtract(_one(k, y), square(y, k))))
unary("tan")(lambda value, u: solve(value, u, lambda y, k: add(_one(k, y), square(y, k))))
unary("logistic")(lambda value, u: solve(value, u, lambda y, k: subtract(y[k], square(y, k))))


def _one(k: int, y: Sequence[Any]) -> Any:
    """Return coefficient ``k`` of the constant one."""
    return jnp.ones_like(y[0]) if k == 0 else None


@unary("expm1")
def expm1(value: Any, u: Series) -> Series:
    """The exponential's coefficients beyond the value."""
    return (value, *solve(lax.exp(u[0]), u, lambda y, k: y[k])[1:])


def logarithm(value: Any, u: Series) -> Series:
    """Solve ``u y' = u'``."""
    y: list[Any] = [value]
    for k in range(1, len(u)):
        rest = subtract(u[k], scale(1 / k, add(*_products(slopes(tuple(y)), u, k))))
        y.append(None if rest is None else rest / u[0])
    return tuple(y)


def _products(slope: Series, u: Series, k: int) -> list[Any]:
    """Return ``j y_j u_{k-j}`` for ``0 < j < k``."""
    return [None if slope[j] is None or u[k - j] is None else slope[j] * u[k - j] for j in range(1, k)]


unary("log")(logarithm)
unary("log1p")(lambda value, u: logarithm(value, plus(1, u)))


def sine_and_cosine(sine: Any, cosine: Any, u: Series, sign: float) -> tuple[Series, Series]:
    """Solve ``s' = c u'`` and ``c' = sign s u'`` together."""
    slope, s, c, store = slopes(u), [sine], [cosine], storing(sine, len(u) - 1)
    for k in range(1, len(u)):
        following = integral(slope, c, k), scale(sign, integral(slope, s, k))
        s.append(store(following[0], k))
        c.append(store(following[1], k))
    return tuple(s), tuple(c)


unary("sin")(lambda value, u: sine_and_cosine(value, lax.cos(u[0]), u, -1)[0])
unary("cos")(lambda value, u: sine_and_cosine(lax.sin(u[0]), value, u, -1)[1])
unary("sinh")(lambda value, u: sine_and_cosine(value, lax.cosh(u[0]), u, 1)[0])
unary("cosh")(lambda value, u: sine_and_cosine(lax.sinh(u[0]), value, u, 1)[1])


@unary("sqrt")
def square_root(value: Any, u: Series) -> Series:
    """Solve ``y y = u``."""
    y = [value]
    for k in range(1, len(u)):
        rest = subtract(u[k], square(y, k, first=1) if k > 1 else None)
        y.append(None if rest is None else rest / (2 * value))
    return tuple(y)


unary("rsqrt")(lambda value, u: power(value, u, -1 / 2))


def integrate(value: Any, u: Series, w: Series) -> Series:
    """Solve ``y' = w u'`` for a ``w`` that does not depend on ``y``."""
    slope = slopes(u)
    return (value, *[integral(slope, w, k) for k in range(1, len(u))])


def _gauss(u: Series, sign: float) -> Series:
    """Return ``exp(sign u u)``."""
    squared = tuple(scale(sign, square(u, k)) for k in range(len(u)))
    return solve(lax.exp(squared[0]), squared, lambda y, k: y[k])


def _scaled(factor: float, u: Series) -> Series:
    """Multiply a series by a number."""
    return tuple(scale(factor, c) for c in u)


TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)
unary("erf")(lambda value, u: integrate(value, u, _scaled(TWO_OVER_ROOT_PI, _gauss(u, -1))))
unary("erfc")(lambda value, u: integrate(value, u, _scaled(-TWO_OVER_ROOT_PI, _gauss(u, -1))))


@unary("erf_inv")
def inverse_error_function(value: Any, u: Series) -> Series:
    """Solve ``y' = sqrt(pi)/2 exp(y y) u'``."""

    def weight(y: Sequence[Any], k: int) -> Any:
        return scale(1 / TWO_OVER_ROOT_PI, _gauss(tuple(y), 1)[k])

    return solve(value, u, weight)


def _one_plus_square(u: Series, sign: float) -> Series:
    """Return ``1 + sign u u``; its value comes from factors where it may be near zero."""
    value = 1 + u[0] * u[0] if sign > 0 else (1 + u[0]) * (1 - u[0])
    return (value, *[scale(sign, square(u, k)) for k in range(1, len(u))])


def _reciprocal(u: Series) -> Series:
    return power(1 / u[0], u, -1)


def _inverse_root(u: Series) -> Series:
    return power(lax.rsqrt(u[0]), u, -1 / 2)


unary("atan")(lambda value, u: integrate(value, u, _reciprocal(_one_plus_square(u, 1))))
unary("atanh")(lambda value, u: integrate(value, u, _reciprocal(_one_plus_square(u, -1))))
unary("asin")(lambda value, u: integrate(value, u, _inverse_root(_one_plus_square(u, -1))))
unary("acos")(lambda value, u: integrate(value, u, _scaled(-1, _inverse_root(_one_plus_square(u, -1)))))
unary("asinh")(lambda value, u: integrate(value, u, _inverse_root(_one_plus_square(u, 1))))


@unary("acosh")
def inverse_cosine(value: Any, u: Series) -> Series:
    """Integrate ``1 / sqrt(u u - 1)``."""
    below = ((u[0] - 1) * (u[0] + 1), *[square(u, k) for k in range(1, len(u))])
    return integrate(value, u, _inverse_root(below))


@rule("atan2")
def angle(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Solve ``(x x + y y) a' = x y' - y x'``."""
    y, x = operands
    radius = tuple(add(square(x, k), square(y, k)) for k in range(mode.order + 1))
    dx, dy = slopes(x), slopes(y)
    a: list[Any] = bind(eqn, y[0], x[0])
    for k in range(1, mode.order + 1):
        right = subtract(cauchy(dy, x, k, first=1), cauchy(dx, y, k, first=1))
        rest = scale(1 / k, subtract(right, add(*_products(slopes(tuple(a)), radius, k))))
        a.append(None if rest is None else rest / radius[0])
    return [tuple(a)]
