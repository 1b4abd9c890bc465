"""The Taylor series of the solution of an ordinary differential equation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check
from jaxgrad._jit import jit
from jaxgrad._types import Array, Function, Tree, Ts, X
from jaxgrad.nth import _taylor_line
from jaxgrad.nth._engine import Mode, evaluate, scale

__all__ = ["ode_series"]


@overload
def ode_series(
    field: Function[Array, *Ts, Array],
    x: ArrayLike,
    order: int,
    *data: *Ts,
    t: None = None,
    factorial_scaled: bool = True,
    max_order: int = _taylor_line.MAX_ORDER,
) -> Array: ...
@overload
def ode_series(
    field: Function[Any, Array, *Ts, Array],
    x: ArrayLike,
    order: int,
    *data: *Ts,
    t: ArrayLike,
    factorial_scaled: bool = True,
    max_order: int = _taylor_line.MAX_ORDER,
) -> Array: ...
@overload
def ode_series(
    field: Function[X, *Ts, X],
    x: X,
    order: int,
    *data: *Ts,
    t: None = None,
    factorial_scaled: bool = True,
    max_order: int = _taylor_line.MAX_ORDER,
) -> X: ...
@overload
def ode_series(
    field: Function[Any, X, *Ts, X],
    x: X,
    order: int,
    *data: *Ts,
    t: ArrayLike,
    factorial_scaled: bool = True,
    max_order: int = _taylor_line.MAX_ORDER,
) -> X: ...
@jit("field", "order", "factorial_scaled", "max_order")
def ode_series(
    field: Callable[..., Tree],
    x: Tree,
    order: int,
    *data: *Ts,
    t: ArrayLike | None = None,
    factorial_scaled: bool = True,
    max_order: int = _taylor_line.MAX_ORDER,
) -> Tree:
    r"""Return the derivatives by time, or the Taylor coefficients, of the solution of an ODE from one point.

    .. math:: \dot{x}(t) = f(t, x(t)), \qquad x^{(k)}(t), \quad k = 0, \dots, n

    From :math:`x_0, \dots, x_k` follows coefficient k of the right-hand side, and from that
    :math:`x_{k+1} = f_k / (k + 1)`.

    Args:
        field: The right-hand side, ``field(x, *data)``, or ``field(t, x, *data)`` where ``t`` is given. It returns a
            pytree like ``x``. Static: pass a named function, and arrays through ``data``. More in ``help(jaxgrad)``.
        x: The state, a pytree of real or complex floating-point arrays.
        order: The highest order n, a Python integer.
        *data: Pytrees handed on to ``field``; they do not move.
        t: The time, a real floating-point scalar, for a field that depends on it.
        factorial_scaled: Whether to return derivatives, as above; otherwise the coefficients :math:`x^{(k)} / k!`.
        max_order: The largest order to accept. Coefficients have no factorial, so with them it may be raised freely.

    Returns:
        The tree of ``x`` with a new leading axis of length ``order + 1``; row 0 is ``x``.

    Raises:
        ValueError: If ``order`` is negative, above ``max_order``, or above 13 where derivatives in float16 are asked
            for, the field's value does not mirror ``x``, or ``t`` is no scalar.
        TypeError: If ``order`` is no Python integer, a leaf of ``x`` no floating-point array, or ``t`` no real number.

    Cost:
        One series of order ``n - 1`` through the field: n evaluations in the linear layers and ``n ** 2``
        multiplications an elementwise operation. The trace holds the series of every lower order too, so its length
        grows with the cube of ``order``; XLA keeps one of what they share, save in loops inside of the field.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def growth(x):
        ...     return x * (1 - x)
        >>> jaxgrad.nth.ode_series(growth, jnp.array(0.5), 3).tolist()
        [0.5, 0.25, 0.0, -0.125]

    References:
        Griewank and Walther (2008), Evaluating Derivatives, 2nd ed., section 13.4.
        Jorba and Zou (2005), A software package for the numerical integration of ODEs by means of high-order Taylor
        methods, Experimental Mathematics 14.
    """
    order = _taylor_line.check_order(order, max_order)
    _check.moving(x=x, complex_too=True)
    leaves, treedef = jax.tree.flatten(jax.tree.map(jnp.asarray, x))
    structure: Any = treedef
    clock = [] if t is None else [_check_time(t)]
    # the field is traced once, and its jaxpr evaluated on longer and longer series
    closed, value = jax.make_jaxpr(
        lambda *moved: field(*moved[: len(clock)], structure.unflatten(moved[len(clock) :]), *data), return_shape=True
    )(*clock, *leaves)
    _check.mirrors(x=structure.unflatten(leaves), **{"field's value": value})
    # in time counted in steps coefficients are about as large as derivatives; asked for themselves, they stay
    step = _taylor_line.stretch(leaves, order) if factorial_scaled else 1.0
    series: list[tuple[Any, ...]] = [(leaf,) for leaf in leaves]
    for k in range(order):
        # one degree more than is read: XLA merges a coefficient with that of the next round only where neither is
        # the last one, which the recurrences do not store
        time = [(now, jnp.full_like(now, step), *[None] * k) for now in clock]
        slopes = evaluate(closed.jaxpr, closed.consts, [*time, *[(*own, None) for own in series]], Mode(k + 1))
        series = [(*own, scale(step / (k + 1), slope[k])) for own, slope in zip(series, slopes, strict=True)]
    rows = [structure.unflatten([_taylor_line.stored(own, k) for own in series]) for k in range(order + 1)]
    stacked = _taylor_line.stack(rows)
    return (
        jax.tree.map(lambda rows: _taylor_line.times_factorials(rows, step), stacked) if factorial_scaled else stacked
    )


def _check_time(t: Any) -> Array:
    """Return the time as a real floating-point scalar.

    Raises:
        ValueError: If it has axes.
    """
    _check.moving(t=t)
    if jnp.shape(t) != ():
        message = f"t must be one time, of shape (); got {_check.describe(t)}: map over times with jax.vmap"
        raise ValueError(message)
    return jnp.asarray(t)
