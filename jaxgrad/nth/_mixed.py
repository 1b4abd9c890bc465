"""Mixed partial derivatives."""

import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad._jit import jit
from jaxgrad._types import Array, Tree
from jaxgrad.nth import _line

__all__ = ["all_mixed", "mixed_partial"]


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
        TypeError: If ``orders`` is no sequence, an order or ``max_order`` no Python integer, or ``x`` no real
            floating-point array.

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
    if not isinstance(orders, Sequence):
        message = f"orders must be a sequence, one order for each of the {x.size} entries of x; got {orders!r}"
        raise TypeError(message)
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


@jit("fun", "order", "max_directions")
def all_mixed(fun: Callable[..., Tree], x: Array, order: int, *data: Any, max_directions: int = 10_000) -> Tree:
    r"""Return every partial derivative of one total order, as a symmetric tensor.

    .. math:: T_{i_1 \dots i_n} = \frac{\partial^n f}{\partial x_{i_1} \cdots \partial x_{i_n}}

    They are combined, with exact rational weights, from the derivatives of order n along the lattice directions
    :math:`j \in \mathbb{N}^d`, :math:`|j| = n`: no series inside a series.

    Args:
        fun: ``fun(x, *data)``, returning an array or a pytree of arrays. Static: pass a named function, and arrays
            through ``data``.
        x: The point, a real floating-point vector of length d; map over a batch with `jax.vmap`.
        order: The total order n, a Python integer.
        *data: Pytrees handed on to ``fun``; not differentiated.
        max_directions: The largest number of directions to follow.

    Returns:
        The output with n new leading axes of length d; JAX's ``float0`` for an output of integers.

    Raises:
        ValueError: If ``x`` is no vector, ``order`` is negative, or there are more than ``max_directions``.
        TypeError: If ``order`` is no Python integer, or ``x`` no real floating-point array.

    Cost:
        ``order`` evaluations for each of the ``binom(d + n - 1, n)`` directions, and one more.

    Example:
        >>> import jax.numpy as jnp
        >>> def product(x):
        ...     return x[0] ** 2 * x[1]
        >>> all_mixed(product, jnp.array([1.0, 2.0]), 2).round(12).tolist()
        [[4.0, 2.0], [2.0, 0.0]]

    References:
        Griewank, Utke and Walther (2000), Evaluating higher derivative tensors by forward propagation of univariate
        Taylor series, Mathematics of Computation 69, equation 17.
    """
    x, order = _line.check_vector(x), _line.check_order(order)
    count = math.comb(x.size + order - 1, order)
    if count > max_directions:
        message = (
            f"all partials of order {order} in {x.size} variables take {count} directions, more than"
            f" max_directions={max_directions}; nth.mixed_partial computes single ones"
        )
        raise ValueError(message)
    lattice = list(lattice_points(x.size, order))
    along = jax.vmap(lambda v: _line.derivatives_along(lambda point: fun(point, *data), x, v, order)[-1])
    lines = along(jnp.asarray(np.array(lattice), x.dtype))
    weights = np.array([[float(interpolation_weight(i, j)) for j in lattice] for i in lattice])
    place = {point: row for row, point in enumerate(lattice)}
    entries = [place[_counts(axes, x.size)] for axes in itertools.product(range(x.size), repeat=order)]
    index = np.array(entries).reshape((x.size,) * order)

    def combine(values: Array) -> Array:
        return jnp.tensordot(jnp.asarray(weights, values.dtype), values, 1)[index]

    return jax.tree.map(_line.unless_float0(combine, lambda shape: index.shape + shape[1:]), lines)


def lattice_points(dim: int, total: int) -> list[tuple[int, ...]]:
    """Return the multi-indices with ``dim`` entries that add up to ``total``."""
    if dim == 1:
        return [(total,)]
    return [(first, *rest) for first in range(total, -1, -1) for rest in lattice_points(dim - 1, total - first)]


def _counts(axes: tuple[int, ...], dim: int) -> tuple[int, ...]:
    """Return how often each variable occurs."""
    return tuple(axes.count(i) for i in range(dim))


def interpolation_weight(i: tuple[int, ...], j: tuple[int, ...]) -> Fraction:
    """Return the weight of the derivative along ``j`` in the partial derivative ``i``, both of one total order."""
    order = sum(i)
    if order == 0:
        return Fraction(1)
    total = Fraction(0)
    for k in itertools.product(*[range(entry + 1) for entry in i]):
        size = sum(k)
        if size == 0:
            continue
        term = Fraction((-1) ** (order - size)) * Fraction(size, order) ** order
        for entry, other, part in zip(i, j, k, strict=True):
            term *= math.comb(entry, part) * _binomial(Fraction(order * part, size), other)
        total += term
    return total / math.factorial(order)


def _binomial(top: Fraction, below: int) -> Fraction:
    """Return a binomial coefficient of a fraction."""
    value = Fraction(1)
    for step in range(below):
        value *= (top - step) / (step + 1)
    return value
