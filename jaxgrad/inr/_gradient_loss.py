"""The mean squared error of a field's coordinate derivatives."""

from __future__ import annotations

from jax.typing import ArrayLike

from jaxgrad import _sharding
from jaxgrad._jit import jit
from jaxgrad._types import Array, AxisName, Function, Params, T
from jaxgrad.inr._engine import mean_square, propagate

__all__ = ["gradient_loss"]


@jit("field_fn", "axis_name")
def gradient_loss(
    field_fn: Function[T, Array, Array],
    params: T,
    points: ArrayLike,
    gradients: ArrayLike,
    *,
    axis_name: AxisName = None,
) -> Array:
    r"""Measure how far the coordinate derivatives of a field lie from given ones.

    .. math:: \frac{1}{N C d} \sum_{n,c,j} \left(\frac{\partial f_c}{\partial p_j}(p_n)
              - \frac{\partial \phi_c}{\partial p_j}(\theta, p_n)\right)^2

    A field that is fitted by this loss alone is found up to a constant for each channel.

    Args:
        field_fn: ``field_fn(params, points) -> values``, from shape ``(..., d)`` to ``(..., c)``, which treats every
            point by itself. Static: pass a named function. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        points: Floating-point array of shape ``(..., d)``; of 16 bits, taken in float32 as in
            `coordinate_derivatives`.
        gradients: The derivatives wanted there, of shape ``(..., c, d)``, in units of value by coordinate
            (`image_targets` gives them for a picture).
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the mean over points is that over all
            devices' points; ``None``: over the device's own.

    Returns:
        The loss, of shape ``()``, in float32 or wider; differentiate it with ``jax.grad``, or hand it to the
            other families.

    Raises:
        ValueError: If the field's values do not share the leading axes of ``points``, ``gradients`` has another shape
            or dtype than the field's own derivatives, once 16 bits are taken in float32, or ``axis_name`` is no axis
            around.
        TypeError: If ``points``, ``gradients`` or the field's values are no real floating-point array.

    Cost:
        ``1 + d`` evaluations of the field; its gradient by ``params`` about three times that.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def field(params, p):
        ...     return params["a"] * p**2
        >>> points, wanted = jnp.array([[1.0], [2.0]]), jnp.array([[[2.0]], [[3.0]]])
        >>> jaxgrad.inr.gradient_loss(field, {"a": 1.0}, points, wanted).item()
        0.5

    References:
        Sitzmann et al. (2020), Implicit neural representations with periodic activation functions, NeurIPS,
        section 4.1, equation 4.
    """

    def mean(params: Params) -> Array:
        return mean_square("field_derivatives", propagate(field_fn, params, points).jacobian, "gradients", gradients)

    return _sharding.mean_of(mean, axis_name)(params)
