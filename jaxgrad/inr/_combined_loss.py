"""A weighted sum of the errors of a field's values, gradients and Laplacians."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding
from jaxgrad._jit import jit
from jaxgrad._types import Array, AxisName, Function, Params, T
from jaxgrad.inr._engine import Second, mean_square, propagate

__all__ = ["combined_loss"]


@jit("field_fn", "axis_name")
def combined_loss(
    field_fn: Function[T, Array, Array],
    params: T,
    points: ArrayLike,
    *,
    values: ArrayLike | None = None,
    gradients: ArrayLike | None = None,
    laplacians: ArrayLike | None = None,
    value_weight: ArrayLike = 1.0,
    gradient_weight: ArrayLike = 1.0,
    laplacian_weight: ArrayLike = 1.0,
    axis_name: AxisName = None,
) -> Array:
    r"""Add up the losses by value, by gradient and by Laplacian, from one propagation.

    .. math:: w_0 L_{\text{value}} + w_1 L_{\text{gradient}} + w_2 L_{\text{Laplacian}}

    The three are `value_loss`, `gradient_loss` and `laplacian_loss`; what is not given is not computed. The gradient
    of a picture of n pixels a side is larger than its values by about n / 2 per unit coordinate, and so is the
    Laplacian than the gradient: equal weights fit the highest derivative alone.

    Args:
        field_fn: ``field_fn(params, points) -> values``, from shape ``(..., d)`` to ``(..., c)``, which treats every
            point by itself. Static: pass a named function. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        points: Floating-point array of shape ``(..., d)``; of 16 bits, taken in float32 as in
            `coordinate_derivatives`.
        values: The values wanted there, of shape ``(..., c)``; ``None`` for none.
        gradients: The derivatives wanted there, of shape ``(..., c, d)``; ``None`` for none.
        laplacians: The Laplacians wanted there, of shape ``(..., c)``; ``None`` for none.
        value_weight: What the loss by value is multiplied by: a number, or an array of shape ``()``.
        gradient_weight: What the loss by gradient is multiplied by.
        laplacian_weight: What the loss by Laplacian is multiplied by.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the mean over points is that over all
            devices' points; ``None``: over the device's own.

    Returns:
        The loss, of shape ``()``, in float32 or wider; differentiate it with ``jax.grad``, or hand it to the
            other families.

    Raises:
        ValueError: If nothing is wanted, the field's values do not share the leading axes of ``points``, a target has
            another shape or dtype than the field's own, once 16 bits are taken in float32, a weight is not one number,
            or ``axis_name`` is no axis around.
        TypeError: If ``points``, a target or the field's values are no real floating-point array, or a weight is no
            real number.

    Cost:
        That of the highest derivative alone: ``2 + d`` evaluations of the field with Laplacians, ``1 + d`` with
        gradients; a gradient by ``params`` about three times that.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def field(params, p):
        ...     return params["a"] * p**2
        >>> points, zeros = jnp.array([[1.0], [2.0]]), jnp.zeros((2, 1))
        >>> jaxgrad.inr.combined_loss(
        ...     field, {"a": 1.0}, points, values=zeros, laplacians=zeros, laplacian_weight=0.25
        ... ).item()
        9.5

    References:
        Sitzmann et al. (2020), Implicit neural representations with periodic activation functions, NeurIPS,
        section 3, equation 2: a sum of penalties on a field and its derivatives.
    """
    weights = {"value_weight": value_weight, "gradient_weight": gradient_weight, "laplacian_weight": laplacian_weight}
    for name, weight in weights.items():
        _check.number(weight, name)
    if values is None and gradients is None and laplacians is None:
        message = "combined_loss has nothing to fit: give values=, gradients= or laplacians="
        raise ValueError(message)

    def mean(params: Params) -> Array:
        second: Second = None if laplacians is None else "laplacian"
        found = propagate(field_fn, params, points, slopes=gradients is not None, second=second)
        compared: list[tuple[ArrayLike, str, Any, str, ArrayLike | None]] = [
            (value_weight, "what field_fn returns", found.values, "values", values),
            (gradient_weight, "field_derivatives", found.jacobian, "gradients", gradients),
            (laplacian_weight, "field_laplacian", found.laplacian, "laplacians", laplacians),
        ]
        terms = [
            (weight, mean_square(what, part, name, target))
            for weight, what, part, name, target in compared
            if target is not None
        ]
        return jnp.sum(jnp.stack([jnp.asarray(weight, term.dtype) * term for weight, term in terms]))

    return _sharding.mean_of(mean, axis_name)(params)
