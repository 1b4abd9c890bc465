"""How far the slope of a field is from one, as that of a distance is everywhere."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, AxisName, Function, Params, T
from jaxgrad.inr._engine import propagate

__all__ = ["eikonal_loss"]


@jit("field_fn", "axis_name")
def eikonal_loss(
    field_fn: Function[T, Array, Array], params: T, points: ArrayLike, *, axis_name: AxisName = None
) -> Array:
    r"""Measure how far the length of a field's gradient lies from 1, the slope of a signed distance.

    .. math:: \frac{1}{N C} \sum_{n,c} \left( \left\| \nabla \phi_c(\theta, p_n) \right\| - 1 \right)^2

    Where a gradient is exactly 0 its term is 1, and its own derivative 0: a length has no slope there, and the loss
    stays finite.

    Args:
        field_fn: ``field_fn(params, points) -> values``, from shape ``(..., d)`` to ``(..., c)``, which treats every
            point by itself; a distance has one channel. Static: pass a named function. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        points: Floating-point array of shape ``(..., d)``; of 16 bits, taken in float32 as in
            `coordinate_derivatives`.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the mean over points is that over all
            devices' points; ``None``: over the device's own.

    Returns:
        The loss, of shape ``()``, in float32 or wider; differentiate it with ``jax.grad``, or hand it to the
            other families.

    Raises:
        ValueError: If the values do not share the leading axes of ``points``, or ``axis_name`` is no axis around.
        TypeError: If ``points`` or the field's values are no real floating-point array.

    Cost:
        ``1 + d`` evaluations of the field; its gradient by ``params`` about three times that.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def field(params, p):
        ...     return params["a"] * (3 * p[..., :1] + 4 * p[..., 1:])
        >>> jaxgrad.inr.eikonal_loss(field, {"a": 1.0}, jnp.ones((2, 2))).item()
        16.0

    References:
        Gropp et al. (2020), Implicit geometric regularization for learning shapes, ICML, equation 2.
    """

    def mean(params: Params) -> Array:
        slopes = _tree.widened(propagate(field_fn, params, points).jacobian)
        # scaled before they are squared: the square of a slope of 1e-25 is 0 in float32, and would ask for no step
        units = _tree.power_of_two(jnp.max(jnp.abs(slopes), axis=-1))
        lengths = units * _tree.safe_sqrt(jnp.sum(jnp.square(slopes / units[..., None]), axis=-1))
        return jnp.mean(jnp.square(lengths - 1))

    return _sharding.mean_of(mean, axis_name)(params)
