"""Rules of special functions that JAX's own jvp gets wrong at an edge, or twice as long with every order."""

import math
import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgrad._jaxpr import bind
from jaxgrad.nth._engine._collapse import collapsed
from jaxgrad.nth._engine._elementwise import integrate, logarithm, solve
from jaxgrad.nth._engine._interpret import BY_JVP, differentiate, follow
from jaxgrad.nth._engine._matrices import map_series, spread
from jaxgrad.nth._engine._power import power_of_zero
from jaxgrad.nth._engine._registry import Mode, rule
from jaxgrad.nth._engine._series import Series, add, cauchy, is_constant, product, scale, square

__all__ = ["composed", "log_normal_cdf"]


def composed(table: Sequence[Any], u: Series) -> Series:
    """Put a series into a function that is given by its own coefficients at ``u_0``, by Horner's scheme."""
    order = len(u) - 1
    moved, result = (None, *u[1:]), (table[order],)
    for j in range(order - 1, -1, -1):
        padded = (*result, None)
        result = (table[j], *[cauchy(padded, moved, k, last=k - 1) for k in range(1, order - j + 1)])
    return result


def anchored(value: Any, own: Any) -> Any:
    """Return JAX's value with the derivatives of our own."""
    return own + lax.stop_gradient(value - own)


NODES = 32
"""Nodes of the two sums below: both are exact to the last digit of float64."""

FAR = 50.0
"""Where the scaled Bessel functions are integrated in a variable that follows their peak."""


def _near(x: Any, order: int, number: int) -> list[Any]:
    r"""Return the coefficients of ``exp(-x) I_n(x)`` at ``0 <= x <= FAR``.

    .. math:: e^{-x} I_n(x) = \frac{1}{\pi} \int_0^\pi e^{x (\cos t - 1)} \cos(n t)\, dt

    A derivative brings down ``cos t - 1``, which has one sign: nothing cancels.

    References:
        NIST Digital Library of Mathematical Functions, equation 10.32.3.
    """
    cosine = np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)
    exponential = jnp.exp(x[..., None] * spread(cosine - 1, x[..., None]))
    weights = [(cosine - 1) ** k / math.factorial(k) * cosine**number / NODES for k in range(order + 1)]
    return [jnp.sum(exponential * spread(w, exponential), axis=-1) for w in weights]


def _far(x: Any, order: int, number: int) -> list[Any]:
    """Return the same from the same integral in ``w w = x (1 - cos t)``, for ``x >= FAR``."""
    step = 0.35
    w = step * (np.arange(28) + 0.5)
    square_of_w = spread(w**2, x[..., None])
    root = lax.rsqrt(2 * x[..., None] - square_of_w)
    rows, power = [], jnp.ones_like(x)
    for k in range(order + 1):
        weights = 2 / np.pi * step * w ** (2 * k) * np.exp(-(w**2)) / math.factorial(k)
        terms = spread(weights, root) * root
        terms = terms * (1 - square_of_w / x[..., None]) if number else terms
        rows.append(power * jnp.sum(terms, axis=-1))
        power = -power / x
    return rows


def scaled_bessel(number: int) -> Any:
    """Return the rule of ``exp(-|x|) I_n(x)``; at zero the derivatives from the right, as JAX has them of ``|x|``."""

    def apply(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
        (u,) = operands
        sign = jnp.where(u[0] >= 0, jnp.ones_like(u[0]), -jnp.ones_like(u[0]))
        x, far = sign * u[0], sign * u[0] > FAR
        near = _near(jnp.where(far, jnp.full_like(x, FAR), x), mode.order, number)
        away = _far(jnp.where(far, x, jnp.full_like(x, FAR)), mode.order, number)
        table = [jnp.where(far, b, a) for a, b in zip(near, away, strict=True)]
        table = [c * sign if (k + number) % 2 else c for k, c in enumerate(table)]
        table[0] = anchored(bind(eqn, u[0])[0], table[0])
        return [composed(table, u)]

    return apply


rule("bessel_i0e", sums=True)(collapsed(scaled_bessel(0)))
rule("bessel_i1e", sums=True)(collapsed(scaled_bessel(1)))


def density(factors: Sequence[tuple[Series, Any]], further: Series) -> Series:
    """Return ``exp(further)`` times powers ``u^p`` that may stand at a base of zero, as ``(u, p)``.

    Away from zero all of it is one exponential, so that nothing overflows. At zero ``u^p`` has the coefficients
    ``binom(p, k) 0^(p-k)``.
    """
    exponent, edges = further, []
    for u, p in factors:
        zero = u[0] == 0
        safe = (jnp.where(zero, jnp.ones_like(u[0]), u[0]), *u[1:])
        logarithms = logarithm(jnp.log(safe[0]), safe)
        part = [None if c is None else jnp.where(zero, jnp.zeros_like(c), p * c) for c in logarithms]
        exponent = tuple(add(a, b) for a, b in zip(exponent, part, strict=True))
        edges.append(composed(_powers_at_edge(u[0], p, len(u)), u))
    result = solve(jnp.exp(exponent[0]), exponent, lambda y, k: y[k])
    for edge in edges:
        result = product(result, edge)
    return result


def _powers_at_edge(x: Any, p: Any, count: int) -> list[Any]:
    """Return the coefficients of ``x^p`` at zero, and of one elsewhere."""
    rows, binomial, zero = [], jnp.ones_like(p), x == 0
    for k in range(count):
        # what is infinite is a constant: its slopes would spoil the gradients of the others
        infinite = jnp.where((p < k) & (binomial != 0), jnp.sign(binomial) * jnp.inf, 0)
        limit = binomial * power_of_zero(x, p - k) + lax.stop_gradient(infinite)
        elsewhere = jnp.ones_like(p) if k == 0 else jnp.zeros_like(p)
        rows.append(jnp.where(zero, limit, elsewhere))
        binomial = binomial * (p - k) / (k + 1)
    return rows


def _complement(u: Series) -> Series:
    return (1 - u[0], *map_series(jnp.negative, u[1:]))


@rule("regularized_incomplete_beta", sums=True)
@collapsed
def incomplete_beta(eqn: Any, operands: list[Series], mode: Mode) -> Sequence[Series]:
    """Integrate ``x^(a-1) (1-x)^(b-1) / B(a, b)``, where only x moves."""
    a, b, x = operands
    if not (is_constant(a) and is_constant(b)):
        return differentiate(eqn, operands, mode)
    (value,) = bind(eqn, a[0], b[0], x[0])
    log_beta = lax.lgamma(a[0]) + lax.lgamma(b[0]) - lax.lgamma(a[0] + b[0])
    constants = (-log_beta, *[None] * mode.order)
    return [integrate(value, x, density([(x, a[0] - 1), (_complement(x), b[0] - 1)], constants))]


@rule("igamma", "igammac", sums=True)
@collapsed
def incomplete_gamma(eqn: Any, operands: list[Series], mode: Mode) -> Sequence[Series]:
    """Integrate ``x^(a-1) exp(-x) / Gamma(a)``, or less it, where only x moves."""
    a, x = operands
    if not is_constant(a):
        return differentiate(eqn, operands, mode)
    (value,) = bind(eqn, a[0], x[0])
    further = (-x[0] - lax.lgamma(a[0]), *map_series(jnp.negative, x[1:]))
    slope = density([(x, a[0] - 1)], further)
    return [integrate(value, x, slope if eqn.primitive.name == "igamma" else map_series(jnp.negative, slope))]


def _scaled_tail(z: Any, order: int) -> list[Any]:
    r"""Return the coefficients of ``exp(z z) erfc(z)`` at ``z >= 0``; nothing cancels here either.

    .. math:: e^{z^2} \operatorname{erfc} z = \frac{2}{\sqrt{\pi}} \int_0^\infty e^{-t^2 - 2 z t}\, dt

    References:
        Takahasi and Mori (1974), Double exponential formulas: the sum that stands for the integral.
    """
    s = np.arange(-4.0, 5.0, 0.1)
    t = np.exp(s - np.exp(-s))
    reach = (1 / (1 + 2 * z))[..., None]
    along = spread(t, reach) * reach
    falling = jnp.exp(-(along**2) - along * (2 * z[..., None]))
    rows, power = [], 1 / (1 + 2 * z)
    for k in range(order + 1):
        weights = 0.1 * 2 / np.sqrt(np.pi) * (1 + np.exp(-s)) * t ** (k + 1) * 2.0**k / math.factorial(k)
        kept = np.minimum(weights, np.finfo(np.float32).max)
        rows.append(power * jnp.sum(falling * spread(kept, falling), axis=-1))
        power = -power * reach[..., 0]
    return rows


def log_normal_cdf(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Solve ``y' = w u'`` and ``w' = -w (u + w) u'`` above zero; below it is ``log(erfcx(-u / sqrt 2) / 2) - u u / 2``.

    JAX differentiates an asymptotic series of three terms, which is right to six digits.
    """
    (u,), (value,) = operands, bind(eqn, operands[0][0])
    below, zero = u[0] < 0, jnp.zeros_like(u[0])
    right = jnp.where(below, zero, u[0])
    ratio = jnp.exp(-(right**2) / 2) / math.sqrt(2 * math.pi) / jax.scipy.special.ndtr(right)
    above = integrate(value, u, solve(ratio, (right, *u[1:]), lambda w, k: _falling(w, (right, *u[1:]), k)))
    z = (jnp.where(below, -u[0], zero) / math.sqrt(2), *map_series(lambda c: scale(-math.sqrt(0.5), c), u[1:]))
    tail = logarithm(value, composed(_scaled_tail(z[0], mode.order), z))
    squares = [scale(-0.5, square(u, k)) for k in range(mode.order + 1)]
    pairs = [(add(a, b), c) for a, b, c in zip(tail, squares, above, strict=True)]
    return [(value, *[None if c is None else jnp.where(below, a, c) for a, c in pairs[1:]])]


def _falling(w: Sequence[Any], u: Series, k: int) -> Any:
    """Return coefficient ``k`` of ``-w (u + w)``."""
    total = tuple(add(a, b) for a, b in zip(w, u[: len(w)], strict=True))
    return scale(-1.0, cauchy(tuple(w), total, k))


JAX_FOLDER = os.path.dirname(jax.__file__)

SMOOTH = {("third_party/scipy/betaln.py", "betaln"), ("numpy/ufuncs.py", "hypot")}
"""Functions of JAX that sort two operands first and do not depend on their order: a file's end, and a name."""


def sorts(eqn: Any) -> bool:
    """Say whether a maximum or minimum was written in one of those functions."""
    traceback = eqn.source_info.traceback
    frames = traceback.frames if traceback is not None else ()
    return any(
        frame.function_name == name and frame.file_name.startswith(JAX_FOLDER) and frame.file_name.endswith(file)
        for frame in frames[:16]
        for file, name in SMOOTH
    )


@rule("max", "min", sums=True)
def extremum(eqn: Any, operands: list[Series], mode: Mode) -> Sequence[Series]:
    """Take JAX's jvp, which halves a tie; where the two are only sorted, sort their series.

    Half of either operand on both sides loses what a smooth function of the two makes of their difference.
    """
    if not sorts(eqn):
        return follow(BY_JVP, eqn, operands, mode)
    (value,), (a, b) = bind(eqn, *[series[0] for series in operands]), operands
    ordered = (a[0] <= b[0]) if eqn.primitive.name == "min" else (a[0] > b[0])

    def pick(c: Any, d: Any) -> Any:
        stored = jnp.zeros_like(value)
        return (
            None
            if c is None and d is None
            else jnp.where(ordered, stored if c is None else c, stored if d is None else d)
        )

    return [(pick(a[0], b[0]), *[pick(c, d) for c, d in zip(a[1:], b[1:], strict=True)])]
