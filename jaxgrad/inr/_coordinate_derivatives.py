"""The derivatives of a field by its coordinates."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Function, Params, T

__all__ = ["at_wide_points", "coordinate_derivatives", "values_and_derivatives"]

UNROLLED = 8
"""Up to so many coordinates are written out one by one: 1.7 times faster to train on a CPU than mapped tangents."""


@jit("field_fn")
def coordinate_derivatives(field_fn: Function[T, Array, Array], params: T, points: ArrayLike) -> Array:
    r"""Differentiate each channel of a field by each coordinate, at every point.

    .. math:: D_{ncj} = \frac{\partial \phi_c(\theta, p_n)}{\partial p_{nj}}

    One tangent a coordinate is carried forward through the whole batch, so the cost does not depend on the number of
    channels. A derivative belongs to its point: inside of `jax.shard_map` the results are those of the device's own
    points, and there is no ``axis_name``.

    Args:
        field_fn: ``field_fn(params, points) -> values``, from shape ``(..., d)`` to ``(..., c)``. It must treat every
            point by itself: a dense network does; one with batch statistics does not. Static: pass a named function.
            More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        points: Floating-point array of shape ``(..., d)``, a batch of points or one. Points of 16 bits are taken in
            float32, by JAX's standard promotion; make them so: bfloat16 has 256 numbers from 0.5 to 1 at the most.

    Returns:
        The derivatives, of shape ``(..., c, d)``, in the dtype of the values at these points.

    Raises:
        ValueError: If ``points`` has no axes, or the values do not share its leading axes.
        TypeError: If ``points`` or the values are no real floating-point array.

    Cost:
        ``1 + d`` evaluations of the field in FLOPs; a gradient of it by ``params`` costs three times that.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def field(params, p):
        ...     return params["a"] * p[..., :1] * p[..., 1:] ** 2
        >>> jaxgrad.inr.coordinate_derivatives(field, {"a": 3.0}, jnp.array([[1.0, 2.0]])).tolist()
        [[[12.0, 12.0]]]

    References:
        Sitzmann et al. (2020), Implicit neural representations with periodic activation functions, NeurIPS,
        section 3.1.
    """
    return values_and_derivatives(field_fn, params, points)[1]


def values_and_derivatives(field_fn: Callable[..., Any], params: Params, points: ArrayLike) -> tuple[Array, Array]:
    """Return the values of a field and their coordinate derivatives, from one evaluation."""
    field, wide = at_wide_points(field_fn, params, points)
    values, tangent_of = jax.linearize(field, wide)
    _check_values(values, wide)

    def along(axis: Array) -> Array:
        return tangent_of(_sharding.like(jnp.broadcast_to(axis, wide.shape), wide))

    basis = jnp.eye(wide.shape[-1], dtype=wide.dtype)
    if len(basis) <= UNROLLED:
        return values, jnp.stack([along(axis) for axis in basis], axis=-1)
    return values, jax.vmap(along, out_axes=-1)(basis)


def at_wide_points(
    field_fn: Callable[..., Any], params: Params, points: ArrayLike
) -> tuple[Callable[[Array], Any], Array]:
    """Return a field as a function of points alone, and the points in float32 or wider.

    Where that widens them, the field is evaluated under JAX's standard promotion, for its parameters may be narrow.

    Raises:
        ValueError: If ``points`` has no axes.
        TypeError: If ``points`` is no real floating-point array.
    """
    _check.floating(points=points)
    if jnp.ndim(points) == 0:
        message = f"points must have shape (..., d), the coordinates last; got {_check.describe(points)}"
        raise ValueError(message)
    given = jnp.asarray(points)
    wide = _tree.widened(given)

    def field(p: Array) -> Any:
        with nullcontext() if wide.dtype == given.dtype else jax.numpy_dtype_promotion("standard"):
            return field_fn(params, p)

    return field, wide


def _check_values(values: Any, points: Array) -> None:
    """Refuse values that are no floating-point array over the points.

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
