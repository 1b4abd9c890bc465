"""The divergence of a vector field."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad._jit import jit
from jaxgrad._types import Array, Function, Ts
from jaxgrad.nth import _taylor_line

__all__ = ["divergence"]


@jit("fun")
def divergence(fun: Function[Array, *Ts, Array], x: ArrayLike, *data: *Ts) -> Array:
    r"""Return the divergence of a vector field.

    .. math:: \nabla \cdot f(x) = \sum_{i=1}^d \frac{\partial f_i}{\partial x_i}

    Args:
        fun: ``fun(x, *data)``, returning an array whose first axis has length d. Static: pass a named function, and
            arrays through ``data``. More in ``help(jaxgrad)``.
        x: The point, a real floating-point vector of length d; map over a batch with `jax.vmap`.
        *data: Pytrees handed on to ``fun``; not differentiated.

    Returns:
        The divergence, with the further axes of the output; zeros like ``x`` for a field of integers.

    Raises:
        ValueError: If ``x`` is no vector, or the output's first axis has another length.
        TypeError: If ``x`` is no real floating-point array.

    Cost:
        ``d + 1`` evaluations.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def field(x):
        ...     return x**2
        >>> jaxgrad.nth.divergence(field, jnp.array([1.0, 2.0])).item()
        6.0

    References:
        Griewank and Walther (2008), Evaluating Derivatives, 2nd ed., chapter 3.
    """
    x = _taylor_line.check_vector(x)

    if x.size == 0:
        return jnp.sum(_entries(fun(x, *data), x), axis=0).astype(x.dtype)

    def own(i: Array, direction: Array) -> Array:
        slopes = _entries(_taylor_line.derivatives_along(lambda point: fun(point, *data), x, direction, 1)[1], x)
        # a field of integers has no slope
        return jnp.zeros(slopes.shape[1:], x.dtype) if slopes.dtype == jax.dtypes.float0 else slopes[i]

    return jnp.sum(jax.vmap(own)(jnp.arange(x.size), jnp.eye(x.size, dtype=x.dtype)), axis=0)


def _entries(field: Any, x: Array) -> Any:
    """Return a field, or its slope, after refusing one without an entry for each of ``x``.

    Raises:
        ValueError: If its first axis has another length.
    """
    if jnp.shape(field)[:1] != x.shape:
        message = f"fun must return one entry for each of the {x.size} of x; its output is {jnp.shape(field)}"
        raise ValueError(message)
    return field
