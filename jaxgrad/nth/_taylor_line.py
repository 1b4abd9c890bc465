"""Derivatives along a line: what every function of the family is made of."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import _check
from jaxgrad._types import Array, Tree
from jaxgrad.nth._engine import Mode, Series, pairs, scale, taylor

MAX_ORDER = 32
"""The default cap on orders: the factorial of 34 is the last one that float32 and bfloat16 hold."""


STRETCHED_FROM = {16: 4, 32: 14}
"""By the bits of a dtype, the order from which a step is chosen: below, its range has room for the factorial."""

HALF_ORDER = 13
"""The largest order of float16: coefficients are there up to 11 times their derivatives, and from the next on 416."""


def check_order(order: Any, max_order: int | None = None, name: str = "order", least: int = 0) -> int:
    """Return an order that is a Python integer up to the cap; ``None`` is the cap of a function that fixes it."""
    advice = "The factorial of 35 overflows float32"
    if max_order is not None:
        advice = "Raise the cap with max_order=, in float64: the factorial of 35 overflows float32"
    negative = isinstance(order, int) and order < least
    most = MAX_ORDER if max_order is None else _check.count(max_order, "max_order")
    return _check.count(order, name, least=least, most=most, advice="" if negative else advice)


def check_point(x: Any, *, complex_too: bool = False) -> Array:
    """Return ``x`` as one floating-point array, a real one unless complex numbers are taken too.

    Raises:
        TypeError: If it is a tree of several arrays, or not floating-point.
    """
    if not jax.tree_util.all_leaves([x]):
        message = f"x must be one array; got a {type(x).__name__}: nth.directional takes pytrees"
        raise TypeError(message)
    _check.moving(x=x, complex_too=complex_too)
    return jnp.asarray(x)


def check_vector(x: Any) -> Array:
    """Return ``x`` as a real floating-point vector.

    Raises:
        ValueError: If it has another number of axes.
    """
    x = check_point(x)
    if x.ndim != 1:
        message = f"x must be a vector, one point; got {_check.describe(x)}: map over a batch with jax.vmap"
        raise ValueError(message)
    return x


def coefficients_along(
    fun: Callable[[Tree], Tree], x: Tree, direction: Tree, order: int, mode: Mode | None = None
) -> list[Tree]:
    """Return the Taylor coefficients 0 to ``order`` of ``t -> fun(x + t direction)`` at ``t = 0``."""
    rows, step = stretched_along(fun, x, direction, order, mode)
    return [jax.tree.map(lambda c, k=k: multiplied(1 / step**k, c), row) for k, row in enumerate(rows)]


def stretched_along(
    fun: Callable[[Tree], Tree],
    x: Tree,
    direction: Tree,
    order: int,
    mode: Mode | None = None,
    total: int | None = None,
) -> tuple[list[Tree], float]:
    """Return the coefficients of ``t -> fun(x + t step direction)``, and the step that keeps them in range.

    ``total`` is the order of all series of which this is one, each inside of the next; its own by default.
    """
    if order == 0:
        return [fun(x)], 1.0
    leaves, treedef = jax.tree.flatten(x)
    structure: Any = treedef
    step, higher = stretch(leaves, order, total), [None] * (order - 1)
    slopes = [scale(step, jnp.asarray(slope)) for slope in jax.tree.leaves(direction)]
    operands = [(leaf, slope, *higher) for leaf, slope in zip(leaves, slopes, strict=True)]
    results, shape = taylor(lambda *moved: fun(structure.unflatten(moved)), operands, mode or Mode(order))
    return [shape.unflatten([stored(series, k) for series in results]) for k in range(order + 1)], step


def stretch(leaves: Sequence[Any], order: int, total: int | None = None) -> float:
    """Return the power of two near the nth root of n!, which makes a coefficient about as large as its derivative.

    A normalised coefficient is smaller by n!, which is out of the range of float16 from order 9, and of float32 where
    the derivative is small itself. Lower ones grow by ``step^k / k!``, so that a derivative within a factor 20 of the
    largest number of float16 may count as infinite. An order that the dtype has room for keeps to one; of series inside
    of series it is the total that needs room.

    Raises:
        ValueError: If float16 has no room for the coefficients of this order, however they are scaled.
    """
    bits = min((jnp.finfo(jnp.result_type(leaf)).bits for leaf in leaves), default=64)
    narrow = any(jnp.result_type(leaf) == jnp.float16 for leaf in leaves)
    if narrow and order > HALF_ORDER:
        message = f"float16 holds Taylor coefficients up to order {HALF_ORDER}; got {order}: cast x to float32"
        raise ValueError(message)
    if (order if total is None else total) < STRETCHED_FROM.get(bits, math.inf):
        return 1.0
    return 2.0 ** round(math.log2(factorial(order)) / order)


def stored(series: Series, k: int) -> Any:
    """Return a coefficient as an array; the known zero of an integer is JAX's ``float0``."""
    value = jnp.asarray(series[0])
    if k == 0 or series[k] is not None:
        return jnp.asarray(series[k])
    if jnp.issubdtype(value.dtype, jnp.inexact):
        return jnp.zeros_like(value)
    return np.zeros(value.shape, jax.dtypes.float0)


def second_order(
    fun: Callable[..., Tree],
    x: Array,
    directions: Array,
    weights: Array | None,
    data: tuple[Any, ...],
    chunk: int | None = None,
) -> tuple[Tree, Tree, Tree]:
    """Return the value, the slopes along directions in rows, and the sum, with weights, of the second derivatives.

    The highest coefficient is carried as its sum, so that a direction costs one evaluation.
    """

    def follow(number: Array, direction: Array, weight: Array | None = None) -> tuple[Tree, Tree, Tree]:
        mode = Mode(2, number, weight)
        value, slope, top = coefficients_along(lambda point: fun(point, *data), x, direction, 2, mode)
        return value, jax.tree.map(lambda c: times_factorial(c, 2), top), slope

    value, total, slopes = over_directions(follow, (directions,) if weights is None else (directions, weights), chunk)
    return value, slopes, total


def sum_of_mixed(
    fun: Callable[..., Tree], x: Array, first: Array, second: Array, data: tuple[Any, ...], chunk: int | None = None
) -> Tree:
    """Return the sum over rows of the derivative along a row of ``first`` and that of ``second``."""

    def follow(number: Array, one: Array, other: Array) -> tuple[None, Tree, None]:
        mode = Mode(3, number, summed=pairs)
        results, shape = taylor(lambda point: fun(point, *data), [(x, one, other, None)], mode)
        return None, shape.unflatten([stored(series, 3) for series in results]), None

    return over_directions(follow, (first, second), chunk)[1]


def over_directions(
    follow: Callable[..., tuple[Tree, Tree, Tree]], rows: tuple[Array, ...], chunk: int | None
) -> tuple[Tree, Tree, Tree]:
    """Follow directions, ``chunk`` of them at once, each given by its number and a row of every array.

    ``follow`` returns what directions share, the sums of what they add up, and their own; the last is stacked. The
    first block may be smaller. The others are a loop, which a backward pass goes through again instead of keeping what
    every block computed.
    """
    block = jax.vmap(follow, out_axes=(None, None, 0))
    count = len(rows[0])
    rows = (jnp.arange(count), *rows)
    if chunk is not None:
        chunk = _check.count(chunk, "chunk", least=1)
    if chunk is None or chunk >= count:
        return block(*rows)
    head = count - (count - 1) // chunk * chunk
    shared, sums, own = block(*[row[:head] for row in rows])

    def step(total: Tree, further: list[Array]) -> tuple[Tree, Tree]:
        _, more, theirs = block(*further)
        return jax.tree.map(jnp.add, total, _without_float0(more)), _without_float0(theirs)

    blocks = [row[head:].reshape(-1, chunk, *row.shape[1:]) for row in rows]
    total, others = jax.lax.scan(jax.checkpoint(step, prevent_cse=False), _without_float0(sums), blocks)

    def join(first: Any, rest: Any) -> Any:
        if rest is None:
            return np.zeros((count, *first.shape[1:]), first.dtype)
        return jnp.concatenate([first, rest.reshape(-1, *first.shape[1:])])

    return (
        shared,
        jax.tree.map(lambda first, added: first if added is None else added, sums, total),
        jax.tree.map(join, own, others),
    )


def _without_float0(tree: Tree) -> Tree:
    """Drop the leaves that are JAX's zeros of integers, which no loop carries."""
    return jax.tree.map(lambda leaf: None if leaf.dtype == jax.dtypes.float0 else leaf, tree)


def derivatives_along(
    fun: Callable[[Tree], Tree], x: Tree, direction: Tree, order: int, total: int | None = None
) -> list[Tree]:
    """Return the derivatives 0 to ``order`` of ``t -> fun(x + t direction)`` at ``t = 0``."""
    rows, step = stretched_along(fun, x, direction, order, total=total)
    return [jax.tree.map(lambda c, k=k: times_factorial(c, k, step), row) for k, row in enumerate(rows)]


def times_factorial(coefficient: Any, k: int, step: float = 1.0) -> Any:
    """Turn the Taylor coefficient along a step into a derivative, by the exact factorial."""
    return multiplied(factorial(k) / step**k, coefficient)


def multiplied(factor: float, coefficient: Any) -> Any:
    """Multiply a coefficient by a number that its dtype may not hold; JAX's ``float0`` stays zero."""

    def product(c: Array) -> Array:
        wide = _at_least_float32(c.dtype)
        return scale(factor, c.astype(wide)).astype(c.dtype)

    return unless_float0(lambda c: c if factor == 1 else product(c))(coefficient)


def unless_float0(
    fun: Callable[[Array], Array], shape: Callable[[tuple[int, ...]], tuple[int, ...]] = tuple
) -> Callable[[Any], Any]:
    """Return ``fun``, which leaves JAX's ``float0`` at zero; ``shape`` is what ``fun`` does to shapes."""

    def apply(leaf: Any) -> Any:
        return np.zeros(shape(leaf.shape), leaf.dtype) if leaf.dtype == jax.dtypes.float0 else fun(leaf)

    return apply


def _at_least_float32(dtype: Any) -> Any:
    """Return a dtype that holds the factorials."""
    return jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype


def times_factorials(coefficients: Array, step: float = 1.0) -> Array:
    """Turn Taylor coefficients along the leading axis into derivatives: one product, and not a loop a row."""
    dtype = coefficients.dtype
    if not jnp.issubdtype(dtype, jnp.inexact):
        return coefficients
    factors = np.array([factorial(k) / step**k for k in range(len(coefficients))])
    wide = _at_least_float32(dtype)
    column = factors.reshape((-1,) + (1,) * (coefficients.ndim - 1))
    return (coefficients.astype(wide) * jnp.asarray(column, wide)).astype(dtype)


def factorial(k: int) -> float:
    """Return a factorial: exact up to 22, and beyond the nearest float64."""
    return float(math.factorial(k))


def stack(rows: list[Tree]) -> Tree:
    """Stack trees along a new leading axis; an integer output has zeros of its own dtype as derivatives."""

    def stack_leaf(value: Array, *others: Any) -> Array:
        kept = [jnp.zeros_like(value) if other.dtype == jax.dtypes.float0 else other for other in others]
        return jnp.stack([jnp.asarray(value), *kept])

    return jax.tree.map(stack_leaf, *rows)
