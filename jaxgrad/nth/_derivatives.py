"""Derivatives of a function of one variable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check
from jaxgrad._jit import jit
from jaxgrad._types import Array, Function, R, Tree, Ts
from jaxgrad.nth import _taylor_line

__all__ = ["derivative", "derivatives"]


@jit("fun", "order", "max_order")
def derivatives(
    fun: Function[Array, *Ts, R], x: ArrayLike, order: int, *data: *Ts, max_order: int = _taylor_line.MAX_ORDER
) -> R:
    r"""Return a function's value and its derivatives of order 1 to n.

    .. math:: \left( f(x), f'(x), f''(x), \dots, f^{(n)}(x) \right)

    A `jax.custom_jvp` or `jax.custom_vjp` counts by its rule at every order, even where the rule hides its derivative
    from JAX; nested `jax.jvp` and `jaxgrad.curvature` then differentiate what the rule returns (docs/nth.md).

    Args:
        fun: ``fun(x, *data)``, returning an array or a pytree of arrays. Static: pass a named function, and arrays
            through ``data``. More in ``help(jaxgrad)``.
        x: The point, a floating-point scalar; map over a batch with `jax.vmap`. An array only where ``fun`` is
            elementwise: an entry of the output may depend on its own entry of ``x`` alone. This cannot be checked;
            for another function the result is the derivative along the vector of ones. Complex for a holomorphic
            ``fun``. Only a real output is refused there: of another function that is not holomorphic, such as one
            that conjugates, the result is the derivative along the real axis.
        order: The highest order n, a Python integer.
        *data: Pytrees handed on to ``fun``; not differentiated.
        max_order: The largest order to accept. The factorial of 35 overflows float32.

    Returns:
        The output with a new leading axis of length ``order + 1``. Rows beyond 0 of an integer output are zero.

    Raises:
        ValueError: If ``order`` is negative or above ``max_order``, or an output's shape does not begin with that
            of ``x``.
        TypeError: If ``order`` is no Python integer, ``x`` no floating-point array, or an output real
            where ``x`` is complex.

    Cost:
        About ``order + 1`` evaluations in the linear layers and ``order ** 2`` multiplications an elementwise
        operation; a trace whose length grows with the square of ``order``.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def cubic(x):
        ...     return 2 * x**3
        >>> jaxgrad.nth.derivatives(cubic, jnp.array(-2.0), 4).tolist()
        [-16.0, 24.0, -24.0, 12.0, 0.0]

    References:
        Griewank and Walther (2008), Evaluating Derivatives, 2nd ed., chapter 13.
        Bettencourt, Johnson and Duvenaud (2019), Taylor-mode automatic differentiation for higher-order derivatives.
    """
    rows, step = _coefficients(fun, x, order, data, max_order)
    return jax.tree.map(lambda c: _taylor_line.times_factorials(c, step), _taylor_line.stack(rows))


@jit("fun", "order", "max_order")
def derivative(
    fun: Function[Array, *Ts, R], x: ArrayLike, order: int, *data: *Ts, max_order: int = _taylor_line.MAX_ORDER
) -> R:
    r"""Return the derivative of order n of a function, and nothing else.

    .. math:: f^{(n)}(x)

    Args:
        fun: ``fun(x, *data)``, returning an array or a pytree of arrays. Static: pass a named function, and arrays
            through ``data``. More in ``help(jaxgrad)``.
        x: The point, a floating-point scalar; map over a batch with `jax.vmap`. An array only where ``fun`` is
            elementwise and complex only where it is holomorphic, as in `derivatives`.
        order: The order n, a Python integer; 0 is the value.
        *data: Pytrees handed on to ``fun``; not differentiated.
        max_order: The largest order to accept. The factorial of 35 overflows float32.

    Returns:
        The derivative, like the output of ``fun``; JAX's ``float0`` zeros for an integer output.

    Raises:
        ValueError: If ``order`` is negative or above ``max_order``, or an output's shape does not begin with that
            of ``x``.
        TypeError: If ``order`` is no Python integer, ``x`` no floating-point array, or an output real
            where ``x`` is complex.

    Cost:
        That of `derivatives`, less what only the lower orders need in the last layer.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> jaxgrad.nth.derivative(jnp.sin, jnp.array(0.0), 3).item()
        -1.0

    References:
        Griewank and Walther (2008), Evaluating Derivatives, 2nd ed., chapter 13.
    """
    rows, step = _coefficients(fun, x, order, data, max_order)
    return jax.tree.map(lambda c: _taylor_line.times_factorial(c, order, step), rows[-1])


def _coefficients(
    fun: Callable[..., Tree], point: ArrayLike, order: int, data: tuple[Any, ...], max_order: int
) -> tuple[list[Tree], float]:
    """Return the Taylor coefficients 0 to ``order`` along a step, entry by entry of the point, and the step."""
    order, x = _taylor_line.check_order(order, max_order), _taylor_line.check_point(point, complex_too=True)
    rows, step = _taylor_line.stretched_along(lambda point: fun(point, *data), x, jnp.ones_like(x), order)
    for path, leaf in jax.tree_util.tree_leaves_with_path(rows[0]):
        if jnp.shape(leaf)[: x.ndim] != x.shape:
            message = (
                f"an array x is for an elementwise fun, whose output has the axes of x first; got x of shape {x.shape}"
                f" and {_check.locate('output', path)} of shape {jnp.shape(leaf)}: map a scalar x with jax.vmap, or"
                " use nth.directional"
            )
            raise ValueError(message)
        if order and _check.is_complex(x) and jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            message = (
                f"fun is not holomorphic: x is complex and {_check.locate('output', path)} real, so there is no"
                " derivative by x; nth.directional and nth.jet differentiate along a line in the plane"
            )
            raise TypeError(message)
    return rows, step
