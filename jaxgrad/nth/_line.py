"""Derivatives along a line: what every function of the family is made of."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import _check
from jaxgrad._types import Array, Tree

MAX_ORDER = 32
"""The default cap on orders: the factorial of 34 is the last one that float32 and bfloat16 hold."""


def check_order(order: Any, max_order: int, name: str = "order") -> int:
    """Return an order that is a Python integer from 0 to the cap."""
    advice = "Raise the cap with max_order=, in float64: the factorial of 35 overflows float32"
    return _check.count(order, name, most=max_order, advice=advice)


def check_point(x: Any) -> Array:
    """Return ``x`` as one real floating-point array.

    Raises:
        TypeError: If it is a tree of several arrays, or not floating-point.
    """
    if not jax.tree_util.all_leaves([x]):
        message = f"x must be one array; got a {type(x).__name__}: nth.directional takes pytrees"
        raise TypeError(message)
    _check.differentiable(x=x)
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


def derivatives_along(fun: Callable[[Tree], Tree], x: Tree, direction: Tree, order: int) -> list[Tree]:
    """Return the derivatives 0 to ``order`` of ``t -> fun(x + t direction)`` at ``t = 0``."""

    def extend(rows: Callable[[Tree], tuple[Tree, ...]]) -> Callable[[Tree], tuple[Tree, ...]]:
        def longer(point: Tree) -> tuple[Tree, ...]:
            values, slopes = jax.jvp(rows, (point,), (direction,))
            return (*values, slopes[-1])

        return longer

    rows = lambda point: (fun(point),)  # noqa: E731 - the start of the recursion
    for _ in range(order):
        rows = extend(rows)
    return list(rows(x))


def stack(rows: list[Tree]) -> Tree:
    """Stack trees along a new leading axis; an integer output has zeros of its own dtype as derivatives."""

    def stack_leaf(value: Array, *others: Any) -> Array:
        kept = [jnp.zeros_like(value) if other.dtype == jax.dtypes.float0 else other for other in others]
        return jnp.stack([value, *kept])

    return jax.tree.map(stack_leaf, *[jax.tree.map(_as_array, row) for row in rows])


def _as_array(leaf: Any) -> Any:
    """Return numbers as arrays and JAX's zeros of integers as they are."""
    return leaf if isinstance(leaf, np.ndarray) and leaf.dtype == jax.dtypes.float0 else jnp.asarray(leaf)
