"""The mean squared error of a field's values."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Params
from jaxgrad.inr._coordinate_derivatives import at_wide_points

__all__ = ["value_loss"]


@jit("field_fn")
def value_loss(field_fn: Callable[..., Any], params: Params, points: Array, values: Array) -> Array:
    r"""Measure how far a field lies from given values.

    .. math:: \frac{1}{N C} \sum_{n,c} \left(f_c(p_n) - \phi_c(\theta, p_n)\right)^2

    Args:
        field_fn: ``field_fn(params, points) -> values``, from shape ``(..., d)`` to ``(..., c)``. Static: pass a
            named function.
        params: Pytree of floating-point arrays.
        points: Floating-point array of shape ``(..., d)``; of 16 bits, taken in float32 as in
            `coordinate_derivatives`.
        values: The values wanted there, of shape ``(..., c)``.

    Returns:
        The loss, of shape ``()``, in float32 or wider; differentiate it with ``jax.grad``, or hand it to the
            other families.

    Raises:
        ValueError: If ``values`` has another shape or dtype than the field's own, once 16 bits are taken in float32.
        TypeError: If ``points``, ``values`` or the field's values are no real floating-point array.

    Cost:
        One evaluation of the field.

    Example:
        >>> import jax.numpy as jnp
        >>> def field(params, p):
        ...     return params["a"] * p
        >>> value_loss(field, {"a": 2.0}, jnp.array([[1.0], [2.0]]), jnp.array([[1.0], [4.0]])).item()
        0.5

    References:
        Sitzmann et al. (2020), Implicit neural representations with periodic activation functions, NeurIPS,
        equation 3.
    """
    field, points = at_wide_points(field_fn, params, points)
    found = _tree.widened(field(points))
    _check.floating(field_values=found, values=values)
    values = _tree.widened(values)
    _check.mirrors(field_values=found, values=values)
    return jnp.mean(jnp.square(values - found))
