"""Derivatives along a direction of a pytree."""

from __future__ import annotations

from typing import Any, overload

from jax.typing import ArrayLike

from jaxgrad import _check
from jaxgrad._jit import jit
from jaxgrad._types import Array, Function, R, Tree, Ts, X
from jaxgrad.nth import _taylor_line

__all__ = ["directional", "taylor_coefficients"]


@overload
def directional(
    fun: Function[Array, *Ts, R],
    x: ArrayLike,
    direction: ArrayLike,
    order: int,
    *data: *Ts,
    max_order: int = _taylor_line.MAX_ORDER,
) -> R: ...
@overload
def directional(
    fun: Function[X, *Ts, R],
    x: X,
    direction: X,
    order: int,
    *data: *Ts,
    max_order: int = _taylor_line.MAX_ORDER,
) -> R: ...
@jit("fun", "order", "max_order")
def directional(
    fun: Function[Any, *Ts, R],
    x: Tree,
    direction: Tree,
    order: int,
    *data: *Ts,
    max_order: int = _taylor_line.MAX_ORDER,
) -> R:
    r"""Return the derivative of order n of a function along a direction.

    .. math:: \left.\frac{d^n}{dt^n} f(x + t v)\right|_{t=0}

    ``x`` may be any pytree, so with a loss for ``fun`` and parameters for ``x`` this is the nth derivative of the
    loss along a direction in parameter space.

    Args:
        fun: ``fun(x, *data)``, returning an array or a pytree of arrays. Static: pass a named function, and arrays
            through ``data``. More in ``help(jaxgrad)``.
        x: The point, a pytree of real or complex floating-point arrays; t is real, also where they are complex.
        direction: The direction v, a pytree with the structure, shapes and dtypes of ``x``; not normalised.
        order: The order n, a Python integer; 0 is the value.
        *data: Pytrees handed on to ``fun``; not differentiated.
        max_order: The largest order to accept. The factorial of 35 overflows float32.

    Returns:
        The derivative, like the output of ``fun``; JAX's ``float0`` zeros for an integer output.

    Raises:
        ValueError: If ``direction`` does not mirror ``x``, or ``order`` is negative or above ``max_order``.
        TypeError: If ``order`` is no Python integer, or a leaf of ``x`` no floating-point array.

    Cost:
        About ``order + 1`` evaluations where one operand of each product is constant; ``2 * order + 1`` where one is a
        line, as weights are in parameter space; ``(order + 1) * (order + 2) / 2`` where both vary otherwise.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def product(point):
        ...     return point["a"] * point["b"] ** 2
        >>> point, ones = {"a": jnp.array(3.0), "b": jnp.array(5.0)}, {"a": jnp.array(1.0), "b": jnp.array(1.0)}
        >>> [jaxgrad.nth.directional(product, point, ones, order).item() for order in range(5)]
        [75.0, 55.0, 26.0, 6.0, 0.0]

    References:
        Griewank, Utke and Walther (2000), Evaluating higher derivative tensors by forward propagation of univariate
        Taylor series, Mathematics of Computation 69.
    """
    order = _taylor_line.check_order(order, max_order)
    _check.moving(x=x, complex_too=True)
    _check.mirrors(x=x, direction=direction)
    return _taylor_line.derivatives_along(lambda point: fun(point, *data), x, direction, order)[-1]


@overload
def taylor_coefficients(
    fun: Function[Array, *Ts, R],
    x: ArrayLike,
    direction: ArrayLike,
    order: int,
    *data: *Ts,
    max_order: int = _taylor_line.MAX_ORDER,
) -> R: ...
@overload
def taylor_coefficients(
    fun: Function[X, *Ts, R],
    x: X,
    direction: X,
    order: int,
    *data: *Ts,
    max_order: int = _taylor_line.MAX_ORDER,
) -> R: ...
@jit("fun", "order", "max_order")
def taylor_coefficients(
    fun: Function[Any, *Ts, R],
    x: Tree,
    direction: Tree,
    order: int,
    *data: *Ts,
    max_order: int = _taylor_line.MAX_ORDER,
) -> R:
    r"""Return the Taylor coefficients of a function along a direction.

    .. math:: c_k = \frac{1}{k!} \left.\frac{d^k}{dt^k} f(x + t v)\right|_{t=0}, \qquad
        f(x + t v) = \sum_{k=0}^n c_k t^k + O(t^{n+1})

    Args:
        fun: ``fun(x, *data)``, returning an array or a pytree of arrays. Static: pass a named function, and arrays
            through ``data``. More in ``help(jaxgrad)``.
        x: The point, a pytree of real or complex floating-point arrays; t is real, also where they are complex.
        direction: The direction v, a pytree with the structure, shapes and dtypes of ``x``; not normalised.
        order: The highest order n, a Python integer.
        *data: Pytrees handed on to ``fun``; not differentiated.
        max_order: The largest order to accept. These coefficients have no factorial, so it may be raised freely.

    Returns:
        The output with a new leading axis of length ``order + 1``. Rows beyond 0 of an integer output are zero.

    Raises:
        ValueError: If ``direction`` does not mirror ``x``, or ``order`` is negative or above ``max_order``.
        TypeError: If ``order`` is no Python integer, or a leaf of ``x`` no floating-point array.

    Cost:
        That of `directional`.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> jaxgrad.nth.taylor_coefficients(jnp.exp, jnp.array(0.0), jnp.array(2.0), 2).tolist()
        [1.0, 2.0, 2.0]

    References:
        Griewank and Walther (2008), Evaluating Derivatives, 2nd ed., chapter 13.
    """
    order = _taylor_line.check_order(order, max_order)
    _check.moving(x=x, complex_too=True)
    _check.mirrors(x=x, direction=direction)
    return _taylor_line.stack(_taylor_line.coefficients_along(lambda point: fun(point, *data), x, direction, order))
