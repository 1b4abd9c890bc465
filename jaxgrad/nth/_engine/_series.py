"""Truncated Taylor series: normalised coefficients ``y_k = y^(k)(0) / k!``, known zeros not stored."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

__all__ = [
    "Coefficient",
    "Series",
    "add",
    "cauchy",
    "constant",
    "instantiate",
    "integral",
    "is_constant",
    "plus",
    "product",
    "scale",
    "slopes",
    "square",
    "subtract",
    "times",
]

Coefficient = Any
"""An array, or ``None`` for a zero that is known when the function is traced."""

Series = tuple[Coefficient, ...]
"""The value, which is never ``None``, and the coefficients 1 to n."""


def constant(value: Any, order: int) -> Series:
    """Return the series of a value that does not move."""
    return (value, *[None] * order)


def is_constant(series: Series) -> bool:
    """Say whether every coefficient beyond the value is a known zero."""
    return all(coefficient is None for coefficient in series[1:])


def instantiate(series: Series) -> Series:
    """Store the known zeros."""
    return tuple(jnp.zeros_like(series[0]) if c is None else c for c in series)


def scale(factor: float, a: Coefficient) -> Coefficient:
    """Multiply by a Python number."""
    return a if a is None or factor == 1 else lax.mul(a, jnp.asarray(factor, a.dtype))


def add(*terms: Coefficient) -> Coefficient:
    """Add what is not a known zero."""
    total = None
    for term in terms:
        total = term if total is None else total if term is None else total + term
    return total


def subtract(a: Coefficient, b: Coefficient) -> Coefficient:
    """Subtract what is not a known zero."""
    return a if b is None else -b if a is None else a - b


def times(a: Coefficient, b: Coefficient) -> Coefficient:
    """Multiply, unless one is a known zero."""
    return None if a is None or b is None else a * b


def plus(number: float, u: Series) -> Series:
    """Add a Python number to the value."""
    return (u[0] + number, *u[1:])


def cauchy(u: Series, w: Series, k: int, first: int = 0, last: int | None = None) -> Coefficient:
    """Return coefficient ``k`` of a product, or the part of its sum of ``u_j w_{k-j}`` from ``first`` to ``last``."""
    return add(*[times(u[j], w[k - j]) for j in range(first, (k if last is None else last) + 1)])


def product(u: Series, w: Series) -> Series:
    """Multiply two series."""
    return tuple(cauchy(u, w, k) for k in range(len(u)))


def square(u: Sequence[Coefficient], k: int, first: int = 0) -> Coefficient:
    """Return coefficient ``k`` of a square, each pair once; ``first`` leaves out the ends of the sum."""
    pairs = add(*[times(u[j], u[k - j]) for j in range(first, (k + 1) // 2)])
    middle = times(u[k // 2], u[k // 2]) if k % 2 == 0 and k // 2 >= first else None
    return add(scale(2, pairs), middle)


def slopes(u: Series) -> Series:
    """Return ``k u_k``, the coefficients of ``u'`` one place further on."""
    return tuple(None if k == 0 else scale(k, c) for k, c in enumerate(u))


def integral(slope: Series, w: Sequence[Coefficient], k: int) -> Coefficient:
    """Return ``y_k`` of ``y' = w u'``, given ``slopes(u)`` and the coefficients of ``w`` below ``k``."""
    return scale(1 / k, add(*[times(slope[j], w[k - j]) for j in range(1, k + 1)]))
