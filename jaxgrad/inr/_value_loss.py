"""The mean squared error of a field's values."""

from __future__ import annotations

from jax.typing import ArrayLike

from jaxgrad import _sharding
from jaxgrad._jit import jit
from jaxgrad._types import Array, AxisName, Function, Params, T
from jaxgrad.inr._engine import mean_square, propagate

__all__ = ["value_loss"]


@jit("field_fn", "axis_name")
def value_loss(
    field_fn: Function[T, Array, Array],
    params: T,
    points: ArrayLike,
    values: ArrayLike,
    *,
    axis_name: AxisName = None,
) -> Array:
    r"""Measure how far a field lies from given values.

    .. math:: \frac{1}{N C} \sum_{n,c} \left(f_c(p_n) - \phi_c(\theta, p_n)\right)^2

    Args:
        field_fn: ``field_fn(params, points) -> values``, from shape ``(..., d)`` to ``(..., c)``. Static: pass a
            named function. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        points: Floating-point array of shape ``(..., d)``; of 16 bits, taken in float32 as in
            `coordinate_derivatives`.
        values: The values wanted there, of shape ``(..., c)``.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the mean over points is that over all
            devices' points; ``None``: over the device's own.

    Returns:
        The loss, of shape ``()``, in float32 or wider; differentiate it with ``jax.grad``, or hand it to the
            other families.

    Raises:
        ValueError: If the field's values do not share the leading axes of ``points``, ``values`` has another shape or
            dtype than they have, once 16 bits are taken in float32, or ``axis_name`` is no axis around.
        TypeError: If ``points``, ``values`` or the field's values are no real floating-point array.

    Cost:
        One evaluation of the field.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def field(params, p):
        ...     return params["a"] * p
        >>> jaxgrad.inr.value_loss(field, {"a": 2.0}, jnp.array([[1.0], [2.0]]), jnp.array([[1.0], [4.0]])).item()
        0.5

    References:
        Sitzmann et al. (2020), Implicit neural representations with periodic activation functions, NeurIPS,
        equation 3.
    """

    def mean(params: Params) -> Array:
        found = propagate(field_fn, params, points, slopes=False).values
        return mean_square("what field_fn returns", found, "values", values)

    return _sharding.mean_of(mean, axis_name)(params)
