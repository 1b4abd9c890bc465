"""The mean squared error of a field's Laplacian."""

from __future__ import annotations

from jax.typing import ArrayLike

from jaxgrad import _sharding
from jaxgrad._jit import jit
from jaxgrad._types import Array, AxisName, Function, Params, T
from jaxgrad.inr._engine import mean_square, propagate

__all__ = ["laplacian_loss"]


@jit("field_fn", "axis_name")
def laplacian_loss(
    field_fn: Function[T, Array, Array],
    params: T,
    points: ArrayLike,
    laplacians: ArrayLike,
    *,
    axis_name: AxisName = None,
) -> Array:
    r"""Measure how far the Laplacian of a field lies from a given one.

    .. math:: \frac{1}{N C} \sum_{n,c} \left(\Delta f_c(p_n) - \Delta \phi_c(\theta, p_n)\right)^2, \qquad
              \Delta = \sum_j \frac{\partial^2}{\partial p_j^2}

    A field that is fitted by this loss alone is found up to a harmonic function, such as a constant or a slope, for
    each channel.

    Args:
        field_fn: ``field_fn(params, points) -> values``, from shape ``(..., d)`` to ``(..., c)``, which treats every
            point by itself. Static: pass a named function. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        points: Floating-point array of shape ``(..., d)``; of 16 bits, taken in float32 as in
            `coordinate_derivatives`.
        laplacians: The Laplacians wanted there, of shape ``(..., c)``, in units of value by squared coordinate.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the mean over points is that over all
            devices' points; ``None``: over the device's own.

    Returns:
        The loss, of shape ``()``, in float32 or wider; differentiate it with ``jax.grad``, or hand it to the
            other families.

    Raises:
        ValueError: If the field's values do not share the leading axes of ``points``, ``laplacians`` has another shape
            or dtype than the field's own, once 16 bits are taken in float32, or ``axis_name`` is no axis around.
        TypeError: If ``points``, ``laplacians`` or the field's values are no real floating-point array.

    Cost:
        ``2 + d`` evaluations of the field; its gradient by ``params`` about three times that.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def field(params, p):
        ...     return params["a"] * p**2
        >>> points, wanted = jnp.array([[1.0], [2.0]]), jnp.array([[2.0], [3.0]])
        >>> jaxgrad.inr.laplacian_loss(field, {"a": 1.0}, points, wanted).item()
        0.5

    References:
        Sitzmann et al. (2020), Implicit neural representations with periodic activation functions, NeurIPS,
        section 4.1, equation 5.
    """

    def mean(params: Params) -> Array:
        found = propagate(field_fn, params, points, second="laplacian").laplacian
        return mean_square("field_laplacian", found, "laplacians", laplacians)

    return _sharding.mean_of(mean, axis_name)(params)
