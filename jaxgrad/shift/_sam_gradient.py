"""The gradient of sharpness-aware minimisation, alone or with the loss."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, Params, T, Ts, Wrt
from jaxgrad.gradient import global_norm

__all__ = ["sam_gradient", "value_and_sam_gradient"]


@overload
def sam_gradient(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *data: *Ts,
    has_aux: Literal[False] = False,
    radius: ArrayLike,
    adaptive: bool = False,
    offset: ArrayLike = 0.01,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> T: ...
@overload
def sam_gradient(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *data: *Ts,
    has_aux: Literal[True],
    radius: ArrayLike,
    adaptive: bool = False,
    offset: ArrayLike = 0.01,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@jit("loss_fn", "has_aux", "adaptive", "wrt", "axis_name", non_negative=("radius", "offset"))
def sam_gradient(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    has_aux: bool = False,
    radius: ArrayLike,
    adaptive: bool = False,
    offset: ArrayLike = 0.01,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Differentiate a loss at its worst point nearby, to first order: SAM and ASAM.

    .. math:: g = \nabla L(w + a), \qquad
              a = \rho\, \frac{T^2 \nabla L(w)}{\lVert T \nabla L(w) \rVert_2}, \qquad
              T = I \ \text{(SAM)}, \quad T = \operatorname{diag}(|w|) + \eta I \ \text{(ASAM)}

    The shift is a constant for differentiation, as in the paper: its own derivative with respect to the parameters
    is left out of the gradient. It is left out, too, when the result is differentiated once more (``data`` does not
    reach the shift then either; ``radius`` does). Where the gradient at ``w`` is exactly zero there is no direction:
    the shift is zero, and the result is the plain gradient, never NaN.

    ASAM's authors take ``T = I`` for biases; here every leaf that counts is treated alike. With ``offset=0`` a weight
    that is exactly zero is not moved.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, ``w``.
        *data: Pytrees handed on to ``loss_fn``, the same for both gradients; not differentiated.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        radius: The length of the shift :math:`\rho` (for ASAM in units of ``T``), a number of shape ``()``, zero or
            more; may be traced. Common: 0.05 for SAM, 0.5 to 2 for ASAM.
        adaptive: ``False`` for SAM, ``True`` for ASAM, whose shift scales with each weight.
        offset: What ASAM adds to the magnitude of each weight, :math:`\eta`. SAM has no use for it.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
            The others are not moved and get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which both gradients are those of the mean of
            the devices' losses, with one shift for all; ``None``: the device's own loss and shift.

    Returns:
        The gradient at the shifted parameters, with the structure, shapes and dtypes of ``params``. With ``has_aux``,
        ``(gradient, aux)``: the aux of the pass at ``w`` itself, whose statistics are those of the network that is
        kept; it is not differentiated, and inside of `jax.shard_map` it is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If ``radius`` or ``offset`` is a negative Python number or NaN, or has axes, the loss is no
            scalar, ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array; or if ``loss_fn`` returns a pair without
            ``has_aux``, or none with it.

    Cost:
        Two gradients, one after the other.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w):
        ...     return 0.5 * jnp.sum(w**2)
        >>> [round(x, 4) for x in jaxgrad.shift.sam_gradient(loss, jnp.array([3.0, 4.0]), radius=0.5).tolist()]
        [3.3, 4.4]

    References:
        Foret et al. (2021), Sharpness-aware minimization for efficiently improving generalization, ICLR, algorithm 1;
        Kwon et al. (2021), ASAM: adaptive sharpness-aware minimization, ICML, equation 8.
    """
    options: Any = {"has_aux": has_aux, "radius": radius, "adaptive": adaptive, "offset": offset}
    value, slopes = value_and_sam_gradient(loss_fn, params, *data, wrt=wrt, axis_name=axis_name, **options)
    return (slopes, value[1]) if has_aux else slopes


@overload
def value_and_sam_gradient(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *data: *Ts,
    has_aux: Literal[False] = False,
    radius: ArrayLike,
    adaptive: bool = False,
    offset: ArrayLike = 0.01,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Array, T]: ...
@overload
def value_and_sam_gradient(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *data: *Ts,
    has_aux: Literal[True],
    radius: ArrayLike,
    adaptive: bool = False,
    offset: ArrayLike = 0.01,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[tuple[Array, Aux], T]: ...
@jit("loss_fn", "has_aux", "adaptive", "wrt", "axis_name", non_negative=("radius", "offset"))
def value_and_sam_gradient(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    has_aux: bool = False,
    radius: ArrayLike,
    adaptive: bool = False,
    offset: ArrayLike = 0.01,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Evaluate a loss, and differentiate it at its worst point nearby: SAM and ASAM.

    .. math:: \left(L(w),\ \nabla L(w + a)\right), \qquad a \ \text{as in `sam_gradient`}

    The value, and the aux, are those of the first pass, at ``w`` itself: the loss of the network that is kept, and for
    batch normalisation the statistics of its own activations, not of those at the worst point.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, ``w``.
        *data: Pytrees handed on to ``loss_fn``, the same for both gradients; not differentiated.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        radius: The length of the shift, a number of shape ``()``, zero or more; may be traced.
        adaptive: ``False`` for SAM, ``True`` for ASAM, whose shift scales with each weight.
        offset: What ASAM adds to the magnitude of each weight. SAM has no use for it.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
            The others are not moved and get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss, and both gradients, are those
            of the mean of the devices' losses, with one shift for all; ``None``: the device's own loss and shift.

    Returns:
        The loss at ``w``, of shape ``()``, and the gradient at the shifted parameters, a tree like ``params``. With
        ``has_aux``, ``((loss, aux), gradient)``: the aux at ``w``, not differentiated; inside of `jax.shard_map` it is
        the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If ``radius`` or ``offset`` is a negative Python number or NaN, or has axes, the loss is no
            scalar, ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array; or if ``loss_fn`` returns a pair without
            ``has_aux``, or none with it.

    Cost:
        Two gradients, one after the other; the value and the aux come with the first.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w):
        ...     return 0.5 * jnp.sum(w**2)
        >>> value, slope = jaxgrad.shift.value_and_sam_gradient(loss, jnp.array([3.0, 4.0]), radius=0.5)
        >>> value.item(), [round(x, 4) for x in slope.tolist()]
        (12.5, [3.3, 4.4])

    References:
        Foret et al. (2021), Sharpness-aware minimization for efficiently improving generalization, ICLR, algorithm 1;
        Kwon et al. (2021), ASAM: adaptive sharpness-aware minimization, ICML, equation 8.
    """
    _check.number(radius, "radius")
    _check.number(offset, "offset")
    radius, offset = _sharding.replicated((radius, offset), axis_name)
    subset = _tree.restrict(_check.scalar_loss(loss_fn, has_aux=has_aux), params, wrt, data, axis_name, has_aux)
    _check.differentiable(params=subset.active)
    (loss, aux), ascent = jax.value_and_grad(subset.pair, has_aux=True)(subset.active, *data)
    if adaptive:
        sizes = jax.tree.map(lambda w: jnp.abs(w) + jnp.asarray(offset, w.dtype), subset.active)
        scaled = jax.tree.map(jnp.multiply, sizes, ascent)
        ascent = jax.tree.map(jnp.multiply, sizes, _unit(scaled))
    else:
        ascent = _unit(ascent)
    worst = _tree.add(subset.active, _tree.scale(jax.lax.stop_gradient(ascent), radius))
    slopes = jax.grad(subset.fun)(worst, *data)
    return (loss, aux) if has_aux else loss, subset.embed(slopes)


def _unit(tree: Params) -> Params:
    """Scale a tree to norm 1; a zero tree stays zero."""
    norm = global_norm(tree)
    regular = norm >= jnp.finfo(norm.dtype).tiny  # the inverse of a smaller norm overflows
    return _tree.scale(tree, 1 / jnp.where(regular, norm, jnp.ones_like(norm)))
