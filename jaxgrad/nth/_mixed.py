"""Mixed partial derivatives."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxgrad._jit import jit
from jaxgrad._types import Array, Function, R, Tree, Ts
from jaxgrad.nth import _taylor_line

__all__ = ["all_mixed", "mixed_partial"]


@jit("fun", "orders", "max_order")
def mixed_partial(
    fun: Function[Array, *Ts, R],
    x: ArrayLike,
    orders: Sequence[int],
    *data: *Ts,
    max_order: int = _taylor_line.MAX_ORDER,
) -> R:
    r"""Return one mixed partial derivative of a function of several variables.

    .. math:: \frac{\partial^{\alpha_1 + \dots + \alpha_d} f}{\partial x_1^{\alpha_1} \dots \partial x_d^{\alpha_d}}

    Args:
        fun: ``fun(x, *data)``, returning an array or a pytree of arrays. Static: pass a named function, and arrays
            through ``data``. More in ``help(jaxgrad)``.
        x: The point, a real floating-point vector of length d; map over a batch with `jax.vmap`.
        orders: One order for every entry of ``x``, Python integers.
        *data: Pytrees handed on to ``fun``; not differentiated.
        max_order: The largest sum of orders to accept. The factorial of 35 overflows float32.

    Returns:
        The partial derivative, like the output of ``fun``.

    Raises:
        ValueError: If ``x`` is no vector, ``orders`` has another length, or an order is negative or the sum above
            ``max_order``.
        TypeError: If ``orders`` is no sequence, an order or ``max_order`` no Python integer, or ``x`` no real
            floating-point array.

    Cost:
        A series inside a series: the product of ``order + 1`` over the variables that are differentiated, in
        evaluations of ``fun``.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def polynomial(x):
        ...     return x[0] ** 2 * x[1] ** 3
        >>> jaxgrad.nth.mixed_partial(polynomial, jnp.array([2.0, 5.0]), (1, 2)).item()
        120.0

    References:
        Griewank and Walther (2008), Evaluating Derivatives, 2nd ed., section 13.3.
    """
    x = _taylor_line.check_vector(x)
    if not isinstance(orders, Sequence):
        message = f"orders must be a sequence, one order for each of the {x.size} entries of x; got {orders!r}"
        raise TypeError(message)
    if len(orders) != x.size:
        message = f"orders must have one entry for each of the {x.size} entries of x; got {len(orders)}: {orders!r}"
        raise ValueError(message)
    counted = [_taylor_line.check_order(order, max_order, f"orders[{i}]") for i, order in enumerate(orders)]
    _taylor_line.check_order(sum(counted), max_order, "the sum of orders")

    def partial(point: Array, i: int) -> Tree:
        """Differentiate by the first ``i`` entries."""
        if i == 0:
            return fun(point, *data)
        if counted[i - 1] == 0:
            return partial(point, i - 1)
        direction = jnp.zeros_like(point).at[i - 1].set(1)
        return _taylor_line.derivatives_along(
            lambda p: partial(p, i - 1), point, direction, counted[i - 1], sum(counted)
        )[-1]

    return partial(x, x.size)


@jit("fun", "order", "max_directions")
def all_mixed(fun: Function[Array, *Ts, R], x: ArrayLike, order: int, *data: *Ts, max_directions: int = 10_000) -> R:
    r"""Return every partial derivative of one total order, as a symmetric tensor.

    .. math:: T_{i_1 \dots i_n} = \frac{\partial^n f}{\partial x_{i_1} \cdots \partial x_{i_n}}

    Each is a series inside a series, one for every variable that it differentiates by, as in `mixed_partial`. Partials
    with the same orders up to the naming of the variables share a program. Nothing is subtracted that is not in the
    function: interpolation from derivatives along lines has fewer evaluations and loses a digit with every order.

    Args:
        fun: ``fun(x, *data)``, returning an array or a pytree of arrays. Static: pass a named function, and arrays
            through ``data``. More in ``help(jaxgrad)``.
        x: The point, a real floating-point vector of length d; map over a batch with `jax.vmap`.
        order: The total order n, a Python integer.
        *data: Pytrees handed on to ``fun``; not differentiated.
        max_directions: The largest number of different partials to compute.

    Returns:
        The output with n new leading axes of length d; JAX's ``float0`` for an output of integers.

    Raises:
        ValueError: If ``x`` is no vector or empty, ``order`` is negative, or there are more than ``max_directions``.
        TypeError: If ``order`` is no Python integer, or ``x`` no real floating-point array.

    Cost:
        The product of ``k + 1`` over the orders k of its variables, less the value that they share, in evaluations, for
        each of the ``binom(d + n - 1, n)`` partials; the value, and a trace as long as that of `mixed_partial`, once
        for every partition of n into at most d parts.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def product(x):
        ...     return x[0] ** 2 * x[1]
        >>> jaxgrad.nth.all_mixed(product, jnp.array([1.0, 2.0]), 2).tolist()
        [[4.0, 2.0], [2.0, 0.0]]

    References:
        Griewank and Walther (2008), Evaluating Derivatives, 2nd ed., section 13.3.
    """
    x, order = _taylor_line.check_vector(x), _taylor_line.check_order(order)
    if x.size == 0:
        message = "x must have an entry; got a vector of length 0, which has no partial derivatives"
        raise ValueError(message)
    count = math.comb(x.size + order - 1, order)
    if count > max_directions:
        message = (
            f"there are {count} partials of order {order} in {x.size} variables, more than"
            f" max_directions={max_directions}; nth.mixed_partial computes single ones"
        )
        raise ValueError(message)
    groups: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for point in lattice_points(x.size, order):
        groups.setdefault(tuple(sorted(filter(None, point), reverse=True)), []).append(point)
    found = [_partials(fun, x, parts, points, data) for parts, points in groups.items()]
    place = {point: row for row, point in enumerate(itertools.chain(*groups.values()))}
    entries = [place[_counts(axes, x.size)] for axes in itertools.product(range(x.size), repeat=order)]
    index = np.array(entries, int).reshape((x.size,) * order)

    def spread(*rows: Any) -> Any:
        if rows[0].dtype == jax.dtypes.float0:
            return np.zeros(index.shape + rows[0].shape[1:], rows[0].dtype)
        return jnp.concatenate(rows)[index]

    return jax.tree.map(spread, *found)


def _partials(
    fun: Callable[..., Tree], x: Array, parts: tuple[int, ...], points: list[tuple[int, ...]], data: tuple[Any, ...]
) -> Tree:
    """Return the partials of some multi-indices that hold the same orders, along a leading axis."""
    # the variables of each, that of the highest order first
    axes = [np.argsort([-k for k in point], kind="stable")[: len(parts)] for point in points]

    def partial(point: Array, directions: Array, level: int) -> Tree:
        """Differentiate by the variables from ``level`` on."""
        if level == len(parts):
            return fun(point, *data)

        def inner(p: Array) -> Tree:
            return partial(p, directions, level + 1)

        return _taylor_line.derivatives_along(inner, point, directions[level], parts[level], sum(parts))[-1]

    rows = np.eye(x.size)[np.array(axes).astype(int).reshape(len(points), len(parts))]
    return jax.vmap(lambda directions: partial(x, directions, 0))(jnp.asarray(rows, x.dtype))


def lattice_points(dim: int, total: int) -> list[tuple[int, ...]]:
    """Return the multi-indices with ``dim`` entries that add up to ``total``."""
    if dim == 1:
        return [(total,)]
    return [(first, *rest) for first in range(total, -1, -1) for rest in lattice_points(dim - 1, total - first)]


def _counts(axes: tuple[int, ...], dim: int) -> tuple[int, ...]:
    """Return how often each variable occurs."""
    return tuple(axes.count(i) for i in range(dim))
