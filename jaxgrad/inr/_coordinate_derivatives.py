"""The derivatives of a field by its coordinates."""

from __future__ import annotations

from typing import Any, Generic, Literal, NamedTuple, TypeVar, overload

from jax.typing import ArrayLike

from jaxgrad import _check
from jaxgrad._jit import jit
from jaxgrad._types import Array, Function, T
from jaxgrad.inr._engine import Second, propagate

__all__ = ["CoordinateDerivatives", "coordinate_derivatives"]


L = TypeVar("L", Array, None)
"""What stands in the place of the Laplacian."""

H = TypeVar("H", Array, None)
"""What stands in the place of the Hessian."""


class CoordinateDerivatives(NamedTuple, Generic[L, H]):
    """A field of ``c`` channels and its derivatives by ``d`` coordinates, at points of shape ``(..., d)``."""

    values: Array
    """The field, of shape ``(..., c)``."""
    jacobian: Array
    """The derivative of each channel by each coordinate, of shape ``(..., c, d)``."""
    laplacian: L
    """The sum of the second derivatives by each coordinate, of shape ``(..., c)``; ``None`` where not asked for."""
    hessian: H
    """All second derivatives, of shape ``(..., c, d, d)``; ``None`` where not asked for."""


@overload
def coordinate_derivatives(
    field_fn: Function[T, Array, Array], params: T, points: ArrayLike, *, second: None = None
) -> CoordinateDerivatives[None, None]: ...
@overload
def coordinate_derivatives(
    field_fn: Function[T, Array, Array], params: T, points: ArrayLike, *, second: Literal["laplacian"]
) -> CoordinateDerivatives[Array, None]: ...
@overload
def coordinate_derivatives(
    field_fn: Function[T, Array, Array], params: T, points: ArrayLike, *, second: Literal["hessian"]
) -> CoordinateDerivatives[None, Array]: ...
@jit("field_fn", "second")
def coordinate_derivatives(
    field_fn: Function[T, Array, Array], params: T, points: ArrayLike, *, second: Second = None
) -> CoordinateDerivatives[Any, Any]:
    r"""Differentiate each channel of a field by each coordinate, at every point, in one propagation.

    .. math:: D_{ncj} = \frac{\partial \phi_c(\theta, p_n)}{\partial p_{nj}}, \qquad
              \Delta_{nc} = \sum_j \frac{\partial^2 \phi_c(\theta, p_n)}{\partial p_{nj}^2}

    The value, one slope a coordinate and what second derivatives are asked for are carried through the whole batch
    side by side, so the cost does not depend on the number of channels. Order and units are those of the points: the
    derivatives of an image's field come by x, then by y, per unit coordinate. A derivative belongs to its point:
    inside of `jax.shard_map` the results are those of the device's own points, and there is no ``axis_name``.

    With ``second``, a `jax.custom_jvp` counts by its rule at every order (docs/nth.md).

    Args:
        field_fn: ``field_fn(params, points) -> values``, from shape ``(..., d)`` to ``(..., c)``. It must treat every
            point by itself: a dense network does; one with batch statistics does not. Static: pass a named function.
            More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        points: Floating-point array of shape ``(..., d)``, a batch of points or one. Points of 16 bits are taken in
            float32, by JAX's standard promotion; make them so: bfloat16 has 256 numbers from 0.5 to 1 at the most.
        second: ``"laplacian"`` for the sums of the second derivatives, ``"hessian"`` for all of them, ``None`` for
            none.

    Returns:
        A `CoordinateDerivatives` of values, jacobian, laplacian and hessian, in the dtype of the values at these
            points; ``None`` in place of what was not asked for.

    Raises:
        ValueError: If ``points`` has no axes or no coordinates, the values do not share its leading axes, or
            ``second`` is unknown.
        TypeError: If ``points`` or the values are no real floating-point array.

    Cost:
        ``1 + d`` evaluations of the field in FLOPs, ``2 + d`` with the Laplacian, ``1 + d + d (d + 1) / 2`` with the
        Hessian; a gradient of it by ``params`` costs three times that.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def field(params, p):
        ...     return params["a"] * p[..., :1] * p[..., 1:] ** 2
        >>> at = jaxgrad.inr.coordinate_derivatives(field, {"a": 3.0}, jnp.array([[1.0, 2.0]]), second="laplacian")
        >>> at.values.tolist(), at.jacobian.tolist(), at.laplacian.tolist()
        ([[12.0]], [[[12.0, 12.0]]], [[6.0]])

    References:
        Sitzmann et al. (2020), Implicit neural representations with periodic activation functions, NeurIPS,
        section 3.1. Li et al. (2024), A computational framework for neural network-based variational Monte Carlo with
        forward Laplacian, Nature Machine Intelligence 6.
    """
    if second is not None:
        _check.choice(second, "second", ("laplacian", "hessian"))
    return CoordinateDerivatives(*propagate(field_fn, params, points, second=second))
