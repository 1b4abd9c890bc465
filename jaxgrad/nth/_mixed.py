"""Mixed partial derivatives."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from jaxgrad._jit import jit
from jaxgrad._types import Array, Tree
from jaxgrad.nth import _line

__all__ = ["mixed_partial"]


@jit("fun", "orders", "max_order")
def mixed_partial(
    fun: Callable[..., Tree], x: Array, orders: Sequence[int], *data: Any, max_order: int = _line.MAX_ORDER
) -> Tree:
    r"""Return one mixed partial derivative of a function of several variables.

    .. math:: \frac{\partial^{\alpha_1 + \dots + \alpha_d} f}{\partial x_1^{\alpha_1} \dots \partial x_d^{\alpha_d}}

    Args:
        fun: ``fun(x, *data)``, returning an array or a pytree of arrays. Static: pass a named function, and arrays
            through ``data``.
        x: The point, a real floating-point vector of length d; map over a batch with `jax.vmap`.
        orders: One order for every entry of ``x``, Python integers.
        *data: Pytrees handed on to ``fun``; not differentiated.
        max_order: The largest sum of orders to accept. The factorial of 35 overflows float32.

    Returns:
        The partial derivative, like the output of ``fun``.

    Raises:
        ValueError: If ``x`` is no vector, ``orders`` has another length, or an order is negative or the sum above
            ``max_order``.
        TypeError: If an order is no Python integer, or ``x`` no real floating-point array.

    Cost:
        A series inside a series: the product of ``order + 1`` over the variables that are differentiated, in
        evaluations of ``fun``.

    Example:
        >>> import jax.numpy as jnp
        >>> def polynomial(x):
        ...     return x[0] ** 2 * x[1] ** 3
        >>> mixed_partial(polynomial, jnp.array([2.0, 5.0]), (1, 2)).item()
        120.0

    References:
        Griewank and Walther (2008), Evaluating Derivatives, 2nd ed., section 13.3.
    """
    x = _line.check_vector(x)
    if len(orders) != x.size:
        message = f"orders must have one entry for each of the {x.size} entries of x; got {len(orders)}: {orders!r}"
        raise ValueError(message)
    counted = [_line.check_order(order, max_order, f"orders[{i}]") for i, order in enumerate(orders)]
    _line.check_order(sum(counted), max_order, "the sum of orders")

    def partial(point: Array, i: int) -> Tree:
        """Differentiate by the first ``i`` entries."""
        if i == 0:
            return fun(point, *data)
        if counted[i - 1] == 0:
            return partial(point, i - 1)
        direction = jnp.zeros_like(point).at[i - 1].set(1)
        return _line.derivatives_along(lambda p: partial(p, i - 1), point, direction, counted[i - 1])[-1]

    return partial(x, x.size)
