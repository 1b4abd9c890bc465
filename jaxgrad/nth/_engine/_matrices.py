"""Products and solves of series whose coefficients are matrices."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgrad.nth._engine._series import Series, add, subtract

__all__ = [
    "adjoint",
    "convolved",
    "diagonal",
    "imaginary",
    "inverse_times",
    "map_series",
    "on_diagonal",
    "solve_left",
    "solve_right",
    "spread",
    "times_matrix",
    "transpose",
]


def times_matrix(a: Any, b: Any) -> Any:
    """Multiply two matrices, unless one is a known zero; in full precision, as JAX's own rules do."""
    return None if a is None or b is None else jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def convolved(u: Sequence[Any], w: Sequence[Any], k: int, first: int = 0, last: int | None = None) -> Any:
    """Return the part of coefficient ``k`` of a product of matrices that has ``u_j`` from ``first`` to ``last``."""
    return add(*[times_matrix(u[j], w[k - j]) for j in range(first, (k if last is None else last) + 1)])


def map_series(fun: Callable[[Any], Any], u: Sequence[Any]) -> Series:
    """Apply a linear function to what is not a known zero."""
    return tuple(None if c is None else fun(c) for c in u)


def transpose(a: Any) -> Any:
    """Swap the last two axes."""
    return jnp.swapaxes(a, -1, -2)


def adjoint(a: Any) -> Any:
    """Return the conjugate transpose."""
    return jnp.conj(transpose(a)) if jnp.iscomplexobj(a) else transpose(a)


def diagonal(a: Any) -> Any:
    """Return the diagonal of the last two axes."""
    return jnp.diagonal(a, axis1=-2, axis2=-1)


def imaginary(a: Any) -> Any:
    """Drop the real part of a complex array."""
    return lax.complex(jnp.zeros_like(jnp.imag(a)), jnp.imag(a))


def on_diagonal(d: Any) -> Any:
    """Put a vector on the diagonal of a matrix."""
    return d[..., None] * spread(np.eye(d.shape[-1]), d[..., None])


def spread(fixed: np.ndarray, like: Any) -> Any:
    """Return a fixed array in the dtype of another, with as many axes."""
    return jnp.asarray(fixed.reshape((1,) * (like.ndim - fixed.ndim) + fixed.shape), like.dtype)


def solve_left(triangle: Any, right: Any, *, lower: bool, unit: bool = False) -> Any:
    """Solve ``triangle x = right``."""
    return lax.linalg.triangular_solve(triangle, right, left_side=True, lower=lower, unit_diagonal=unit)


def solve_right(triangle: Any, left: Any, *, lower: bool, adjoint_of: bool = False) -> Any:
    """Solve ``x triangle = left``, or with its adjoint."""
    return lax.linalg.triangular_solve(
        triangle, left, left_side=False, lower=lower, transpose_a=adjoint_of, conjugate_a=adjoint_of
    )


def inverse_times(inverse: Any, a: Series, right: Sequence[Any]) -> list[Any]:
    """Solve ``a x = right`` degree by degree, given the inverse of ``a_0``."""
    x: list[Any] = []
    for k, c in enumerate(right):
        x.append(times_matrix(inverse, subtract(c, convolved(a, x, k, first=1) if k else None)))
    return x
