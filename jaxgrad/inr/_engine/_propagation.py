"""A field and its coordinate derivatives, carried through it side by side."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._types import Array, Params
from jaxgrad.inr._engine._arrays import one_array
from jaxgrad.nth._engine import side_by_side, taylor

__all__ = ["Propagated", "Second", "mean_square", "propagate"]

Second = Literal["laplacian", "hessian"] | None
"""Which second derivatives are carried."""

UNROLLED = 8
"""Up to so many coordinates are written out one by one: 1.7 times faster to train on a CPU than mapped tangents."""


class Propagated(NamedTuple):
    """A field and its derivatives at points, from one propagation: arrays, or ``None`` for what was not carried."""

    values: Array
    jacobian: Any
    laplacian: Any
    hessian: Any


def propagate(
    field_fn: Callable[..., Any], params: Params, points: ArrayLike, *, slopes: bool = True, second: Second = None
) -> Propagated:
    """Evaluate a field at points, and carry as many derivatives as are asked for.

    Raises:
        ValueError: If ``points`` has no axes, or the values do not share its leading axes.
        TypeError: If ``points`` or the values are no real floating-point array.
    """
    field, wide = _at_wide_points(field_fn, params, points)
    if second is not None:
        return _to_second_order(field, wide, second)
    if slopes:
        return _to_first_order(field, wide)
    values = jax.tree.map(jnp.asarray, field(wide))
    _check.floating(**{"what field_fn returns": values})
    return Propagated(_checked(values, wide), None, None, None)


def _to_first_order(field: Callable[[Array], Any], wide: Array) -> Propagated:
    """Carry one tangent a coordinate; what they share, as the cosine of a sine network, is computed once."""
    values, tangent_of = jax.linearize(field, wide)
    _checked(values, wide)
    if wide.shape[-1] <= UNROLLED:
        jacobian = jnp.stack([tangent_of(axis) for axis in _axes(wide)], axis=-1)
    else:
        basis = jnp.eye(wide.shape[-1], dtype=wide.dtype)
        jacobian = jax.vmap(lambda axis: tangent_of(_along(axis, wide)), out_axes=-1)(basis)
    return Propagated(values, jacobian, None, None)


def _to_second_order(field: Callable[[Array], Any], wide: Array, second: Second) -> Propagated:
    """Carry one slope a coordinate, and beside them the sum of the pure second derivatives, or all of them.

    References:
        Li et al. (2024), A computational framework for neural network-based variational Monte Carlo with forward
        Laplacian, Nature Machine Intelligence 6: the sum is carried as one coefficient.
    """
    size = wide.shape[-1]
    pairs = tuple(itertools.combinations_with_replacement(range(size), 2))
    sums = tuple((pair,) for pair in pairs) if second == "hessian" else (tuple((i, i) for i in range(size)),)
    start = (wide, *_axes(wide), *[None] * len(sums))
    found, structure = taylor(field, [start], side_by_side(size, sums))
    values = _checked(structure.unflatten([series[0] for series in found]), wide)
    series = found[0]
    slopes, tops = ([_stored(c, values) for c in part] for part in (series[1 : 1 + size], series[1 + size :]))
    jacobian = jnp.stack(slopes, axis=-1)
    if second == "laplacian":
        return Propagated(values, jacobian, tops[0], None)
    at = dict(zip(pairs, tops, strict=True))
    rows = [jnp.stack([at[min(i, j), max(i, j)] for j in range(size)], axis=-1) for i in range(size)]
    return Propagated(values, jacobian, None, jnp.stack(rows, axis=-2))


def _axes(wide: Array) -> list[Array]:
    """Return a tangent along every coordinate, the same at each point."""
    return [_along(axis, wide) for axis in jnp.eye(wide.shape[-1], dtype=wide.dtype)]


def _along(axis: Array, wide: Array) -> Array:
    """Repeat a direction for every point, laid out as the points are."""
    return _sharding.like(jnp.broadcast_to(axis, wide.shape), wide)


def _stored(coefficient: Any, values: Array) -> Array:
    """Return a coefficient as an array; a known zero is one of the values' kind."""
    return jnp.zeros_like(values) if coefficient is None else coefficient


def _at_wide_points(
    field_fn: Callable[..., Any], params: Params, points: ArrayLike
) -> tuple[Callable[[Array], Any], Array]:
    """Return a field as a function of points alone, and the points in float32 or wider.

    Where that widens them, the field is evaluated under JAX's standard promotion, for its parameters may be narrow.

    Raises:
        ValueError: If ``points`` has no axes, or no coordinates.
        TypeError: If ``points`` is no real floating-point array.
    """
    given = one_array("points", points)
    if given.ndim == 0 or given.shape[-1] == 0:
        message = f"points must have shape (..., d), the coordinates last; got {_check.describe(given)}"
        raise ValueError(message)
    wide = _tree.widened(given)

    def field(p: Array) -> Any:
        with nullcontext() if wide.dtype == given.dtype else jax.numpy_dtype_promotion("standard"):
            return field_fn(params, p)

    return field, wide


def _checked(values: Any, points: Array) -> Array:
    """Return values, or refuse what is no floating-point array over the points.

    Raises:
        ValueError: If their leading axes are not those of the points.
        TypeError: If they are no real floating-point array.
    """
    _check.floating(values=values)
    if not isinstance(values, jax.Array) or values.shape[:-1] != points.shape[:-1] or values.ndim != points.ndim:
        got = _check.describe(values)
        wanted = ",".join([*map(str, points.shape[:-1]), "channels"])
        message = f"field_fn must return one array of shape ({wanted}) for {_check.describe(points)}; got {got}"
        raise ValueError(message)
    return values


def mean_square(what: str, found: Any, name: str, wanted: Any) -> Array:
    """Return the mean squared difference of what was found and what is wanted, of one shape and dtype.

    16 bits are taken in float32.

    Raises:
        ValueError: If their shapes or dtypes differ: nothing is broadcast.
        TypeError: If what is wanted is no real floating-point array.
    """
    _check.floating(**{name: wanted})
    found, wanted = _tree.widened(found), _tree.widened(wanted)
    _check.mirrors(**{what: found, name: wanted})
    return jnp.mean(jnp.square(wanted - found))
