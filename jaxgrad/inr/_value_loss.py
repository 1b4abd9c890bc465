"""The mean squared error of a field's values."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jaxgrad import _check
from jaxgrad._jit import jit
from jaxgrad._types import Array, Params

__all__ = ["value_loss"]


@jit("field_fn")
def value_loss(field_fn: Callable[..., Any], params: Params, points: Array, values: Array) -> Array:
    r"""Measure how far a field lies from given values.

    .. math:: \frac{1}{N C} \sum_{n,c} \left(f_c(p_n) - \phi_c(\theta, p_n)\right)^2

    Args:
        field_fn: ``field_fn(params, points) -> values``, from shape ``(..., d)`` to ``(..., c)``. Static: pass a
            named function.
        params: Pytree of floating-point arrays.
        points: Floating-point array of shape ``(..., d)``.
        values: The values wanted there, of shape ``(..., c)``.

    Returns:
        The loss, of shape ``()``; differentiate it with ``jax.grad``, or hand it to the other families.

    Raises:
        ValueError: If ``values`` has another shape or dtype than the field's own.

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
    found = field_fn(params, points)
    _check.mirrors(field_values=found, values=values)
    return jnp.mean(jnp.square(values - found))
