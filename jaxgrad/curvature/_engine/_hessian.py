"""The Hessian of a loss as a linear map of vectors: one function for each way of differentiating twice.

Each takes the loss as ``pair(point) -> (value, aux)`` and returns the product with what the same pass gives beside it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgrad import _sharding, _tree
from jaxgrad._types import Array, Tree
from jaxgrad.curvature._engine import _vectors
from jaxgrad.curvature._engine._second import (
    MODES,
    OF_A_MATRIX,
    culprit,
    forward,
    gradient_of,
    refuse_reverse_only,
)

__all__ = ["Beside", "hessian_times"]

Pair = Callable[[Tree], tuple[Array, Any]]


class Beside(NamedTuple):
    """What a product gives beside itself, from the same pass: dropped from the program where nobody reads it."""

    gradient: Tree
    value: Array
    aux: Any


def hessian_times(
    pair: Pair, point: Tree, vectors: _vectors.Vectors, mode: str, cache: bool, shared: tuple[Any, ...] = ()
) -> tuple[Tree, Beside]:
    """Multiply the Hessian by one vector, or by each of several.

    Args:
        pair: The loss, with its aux.
        point: Where to differentiate.
        vectors: One vector, or several.
        mode: One of `MODES`.
        cache: Whether XLA may keep what does not depend on the vector.
        shared: The mesh axes over which the point differs from device to device, and the loss does not.

    Raises:
        TypeError: If an operation has no second derivative in this mode; with its name, its line and what to write.
    """
    try:
        return _times(pair, point, vectors, mode, cache, shared)
    except (TypeError, ValueError, NotImplementedError) as error:
        try:
            name = "" if mode == MODES[3] else culprit(gradient_of(pair), point, reverse=mode == MODES[2])
        except Exception:  # the loss has no first derivative: that is the error to show
            name = ""
        if not name:
            raise
        message = (
            f'mode="{mode}" differentiates the gradient once more, which the operation {name} does not allow; write'
            f' mode="{MODES[3]}", which takes differences of gradients'
        )
        raise TypeError(message) from error


def _times(
    pair: Pair, point: Tree, vectors: _vectors.Vectors, mode: str, cache: bool, shared: tuple[Any, ...]
) -> tuple[Tree, Beside]:
    """Multiply: one vector in one pass, several by the linear map, or each in a pass of its own."""

    def one(point: Tree, direction: Tree) -> tuple[Tree, Beside]:
        if mode == MODES[3]:
            return _finite_difference(pair, point, direction, shared)
        return ONE[mode](pair, point, direction)

    if vectors.number is None:
        return one(*_vectors.apart(point, vectors.tree, cache))
    if cache and mode in OF_A_MATRIX:
        times, beside = _linear(pair, point, mode)
        return vectors.each(times), beside
    products = vectors.each(lambda direction: one(*_vectors.apart(point, direction, cache))[0])
    gradient, rest = gradient_of(pair)(point)
    return products, Beside(gradient, *rest)


def _linear(pair: Pair, point: Tree, mode: str) -> tuple[Callable[[Tree], Tree], Beside]:
    """Return the map from vectors to products, what they share computed once."""
    gradient = gradient_of(pair)
    if mode == MODES[0]:
        slope, times, rest = jax.linearize(forward(gradient, point), point, has_aux=True)
        return times, Beside(slope, *rest)
    slope, pullback, rest = jax.vjp(gradient, point, has_aux=True)
    return lambda direction: pullback(direction)[0], Beside(slope, *rest)


def _forward_over_reverse(pair: Pair, point: Tree, direction: Tree) -> tuple[Tree, Beside]:
    """Differentiate the gradient along the direction."""
    traced = forward(gradient_of(pair), point)
    slope, product, rest = jax.jvp(traced, (point,), (direction,), has_aux=True)
    return product, Beside(slope, *rest)


def _reverse_over_forward(pair: Pair, point: Tree, direction: Tree) -> tuple[Tree, Beside]:
    """Take the gradient of the slope along the direction; with respect to the direction it is the gradient itself."""
    refuse_reverse_only(pair, point, f'write mode="{MODES[0]}" or mode="{MODES[2]}"')

    def slope(point: Tree, direction: Tree) -> tuple[Array, tuple[Array, Any]]:
        value, along, aux = jax.jvp(pair, (point,), (direction,), has_aux=True)
        return along, (value, aux)

    (product, gradient), rest = jax.grad(slope, argnums=(0, 1), has_aux=True)(point, direction)
    return product, Beside(gradient, *rest)


def _reverse_over_reverse(pair: Pair, point: Tree, direction: Tree) -> tuple[Tree, Beside]:
    """Pull the direction back through the gradient: the Hessian is symmetric."""
    times, beside = _linear(pair, point, MODES[2])
    return times(direction), beside


ONE: dict[str, Callable[[Pair, Tree, Tree], tuple[Tree, Beside]]] = {
    MODES[0]: _forward_over_reverse,
    MODES[1]: _reverse_over_forward,
    MODES[2]: _reverse_over_reverse,
}


def _finite_difference(pair: Pair, point: Tree, direction: Tree, shared: tuple[Any, ...] = ()) -> tuple[Tree, Beside]:
    """Take the difference of the gradients at two points on either side, along the unit vector.

    The truncation grows as the step squared, the rounding as its inverse: they meet at the cube root of the rounding.
    """
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(direction)]
    kept = _tree.accumulator(*dtypes)
    wide = jax.tree.map(lambda leaf: leaf.astype(kept), direction)
    length = _tree.scaled_norm(wide)
    if shared:  # parameters of several devices move together, by one length
        length = _tree.safe_sqrt(_sharding.sum_over(length**2, shared))
    unit = jax.tree.map(lambda leaf: leaf / jnp.where(length > 0, length, jnp.ones_like(length)), wide)
    step = jnp.asarray(max(float(jnp.finfo(dtype).eps) for dtype in dtypes) ** (1 / 3), kept)

    def gradient_at(step: Array) -> Tree:
        moved = jax.tree.map(lambda x, u: (x.astype(kept) + step * u).astype(x.dtype), point, unit)
        return gradient_of(pair)(moved)[0]

    def difference(ahead: Array, behind: Array) -> Array:
        return ((ahead.astype(kept) - behind.astype(kept)) * (length / (2 * step))).astype(ahead.dtype)

    gradient, rest = gradient_of(pair)(point)
    return jax.tree.map(difference, gradient_at(step), gradient_at(-step)), Beside(gradient, *rest)
