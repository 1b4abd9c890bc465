"""Determinants: by minors, which divide by nothing and so are right at every rank; their logarithm by a trace."""

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgrad._jaxpr import bind
from jaxgrad.nth._engine._elementwise import solve
from jaxgrad.nth._engine._matrices import (
    adjoint,
    convolved,
    diagonal,
    imaginary,
    inverse_times,
    map_series,
    spread,
    times_matrix,
)
from jaxgrad.nth._engine._registry import Mode
from jaxgrad.nth._engine._series import Series, cauchy, constant, product, scale, slopes, subtract

__all__ = ["determinant", "log_determinant"]

MOST_MINORS = 8
"""The largest matrix that is expanded by minors alone: it has 70 of them with four columns."""


def determinant(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Expand by minors; of a large matrix the part that may be singular.

    A cofactor through an inverse, or an LU, is wrong where the rank is lower by two and more.
    """
    del eqn
    (a,) = operands
    size = a[0].shape[-1]
    return [_by_minors(a, mode) if size <= MOST_MINORS else _by_parts(a, mode)]


def _by_minors(a: Series, mode: Mode) -> Series:
    """Return the determinant: the minors of the first r rows, for every choice of r columns, row by row."""
    size = a[0].shape[-1]
    if size == 0:
        return constant(jnp.ones(a[0].shape[:-2], a[0].dtype), mode.order)
    minors = map_series(lambda c: c[..., 0, :], a)
    for r in range(1, size):
        columns, without = _choices(size, r)
        entries = tuple(None if c is None else _signed(c[..., r, columns]) for c in a)
        below = tuple(None if c is None else c[..., without] for c in minors)
        minors = map_series(lambda c: jnp.sum(c, axis=-1), product(entries, below))
    return map_series(lambda c: c[..., 0], minors)


def _signed(entries: Any) -> Any:
    """Give the entries of the last row of a minor their signs: the last is positive."""
    last = entries.shape[-1] - 1
    return entries * spread(np.array([(-1) ** (last - i) for i in range(last + 1)]), entries)


def _choices(size: int, r: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each choice of r + 1 columns, and where among those of r columns stands the one without each."""
    places = {chosen: i for i, chosen in enumerate(itertools.combinations(range(size), r))}
    chosen = list(itertools.combinations(range(size), r + 1))
    return np.array(chosen), np.array([[places[c[:i] + c[i + 1 :]] for i in range(r + 1)] for c in chosen])


def _by_parts(a: Series, mode: Mode) -> Series:
    """Split off the directions of the eight smallest singular values, and expand what is left of them by minors.

    ``det A = det B_11 det(B_22 - B_21 B_11^-1 B_12)`` in any two bases, which so need not move with ``A``.
    """
    u, s, vh = lax.linalg.svd(lax.stop_gradient(a[0]), full_matrices=True)
    big = s.shape[-1] - MOST_MINORS
    b = map_series(lambda c: times_matrix(adjoint(u), times_matrix(c, adjoint(vh))), a)
    singular = s[..., big - 1] <= s.shape[-1] * jnp.finfo(s.dtype).eps * s[..., 0]
    eye = spread(np.eye(big), u)
    first = map_series(lambda c: c[..., :big, :big], b)
    first = (jnp.where(singular[..., None, None], eye, first[0]), *first[1:])
    inverse = jnp.linalg.inv(first[0])
    across = inverse_times(inverse, first, map_series(lambda c: c[..., :big, big:], b))
    corner = map_series(lambda c: c[..., big:, :big], b)
    rest = [
        subtract(c, convolved(corner, across, k)) for k, c in enumerate(map_series(lambda c: c[..., big:, big:], b))
    ]
    whole = product(_nonsingular(first, inverse, mode), _by_minors(tuple(rest), mode))
    turn = jnp.linalg.det(u) * jnp.linalg.det(vh)
    return tuple(None if c is None else jnp.where(singular, _beyond(c, k), turn * c) for k, c in enumerate(whole))


def _beyond(c: Any, k: int) -> Any:
    """Return a coefficient of a matrix whose rank is lower by more than eight: zero, or from degree 8 not known."""
    return jnp.zeros_like(c) if k < MOST_MINORS else jnp.full_like(c, jnp.nan)


def _nonsingular(a: Series, inverse: Any, mode: Mode) -> Series:
    """Solve ``d' = d tr(A^-1 A')``."""
    traces, d = _traces(a, inverse), [jnp.linalg.det(a[0])]
    for k in range(1, mode.order + 1):
        d.append(scale(1 / k, cauchy(tuple(traces), tuple(d), k - 1)))
    return tuple(d)


def _traces(a: Series, inverse: Any) -> list[Any]:
    """Return the coefficients of ``tr(A^-1 A')``."""
    ratio = inverse_times(inverse, a, slopes(a)[1:])
    return [None if c is None else jnp.sum(diagonal(c), axis=-1) for c in ratio]


def log_determinant(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Integrate ``tr(A^-1 A')``: its real part is the logarithm's, its imaginary part turns the sign."""
    (a,) = operands
    sign, value = bind(eqn, a[0])
    traces = _traces(a, jnp.linalg.inv(a[0]))
    moved = [scale(1 / k, c) for k, c in enumerate(traces, 1)]
    logarithm = (value, *map_series(jnp.real, moved))
    if not jnp.iscomplexobj(sign):
        return [constant(sign, mode.order), logarithm]
    phase = (jnp.zeros_like(sign), *map_series(imaginary, moved))
    return [solve(sign, phase, lambda y, k: y[k]), logarithm]
