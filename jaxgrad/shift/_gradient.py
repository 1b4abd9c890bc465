"""The gradient of a loss at moved parameters."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, T, Tree, Ts, Wrt
from jaxgrad.shift import _partial

__all__ = ["gradient", "value_and_grad"]


@overload
def gradient(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    shift: Tree,
    *data: *Ts,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> T: ...
@overload
def gradient(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    shift: Tree,
    *data: *Ts,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@jit("loss_fn", "has_aux", "wrt", "axis_name")
def gradient(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    shift: Tree,
    *data: *Ts,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Differentiate a loss at shifted parameters.

    .. math:: g = \nabla_w L(w + a) = \left.\nabla L\right|_{w + a} = \nabla_a L(w + a)

    The model is not edited: it is applied to ``w + a``. A zero shift gives the plain gradient.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, ``w``.
        shift: The shift ``a``: leaves with the paths, shapes and dtypes of those of ``params``. Keys of dictionaries
            may be absent and leaves or whole nodes ``None``; what is left out is not moved.
        *data: Pytrees handed on to ``loss_fn``; not differentiated.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths (``"*/kernel"``, ``"trunk"``), a predicate
            ``wrt(path, leaf)``, or ``None`` for all. The others are moved too, but get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss is the mean of the devices'
            losses; ``None``: it is the device's own.

    Returns:
        The gradient, with the structure, shapes and dtypes of ``params``. With ``has_aux``, ``(gradient, aux)``: the
        aux at the shifted parameters, not differentiated; inside of `jax.shard_map` it is the device's own, with
        ``axis_name`` too.

    Raises:
        ValueError: If ``shift`` has a leaf that ``params`` has not, or not in that shape and dtype, the loss is no
            scalar, ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array; or if ``loss_fn`` returns a pair without
            ``has_aux``, or none with it.

    Cost:
        One gradient, and one copy of the leaves that are moved.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(params):
        ...     return jnp.sum(params["w"] ** 2) + params["b"]
        >>> params = {"w": jnp.array([1.0, 2.0]), "b": jnp.array(3.0)}
        >>> jaxgrad.shift.gradient(loss, params, {"w": jnp.array([0.5, 0.0])})["w"].tolist()
        [3.0, 4.0]

    References:
        Graves (2011), Practical variational inference for neural networks, NeurIPS (a random shift);
        Foret et al. (2021), Sharpness-aware minimization, ICLR, equation 3 (a shift along the gradient).
    """
    options: Any = {"has_aux": has_aux, "wrt": wrt, "axis_name": axis_name}
    value, slopes = value_and_grad(loss_fn, params, shift, *data, **options)
    return (slopes, value[1]) if has_aux else slopes


@overload
def value_and_grad(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    shift: Tree,
    *data: *Ts,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Array, T]: ...
@overload
def value_and_grad(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    shift: Tree,
    *data: *Ts,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[tuple[Array, Aux], T]: ...
@jit("loss_fn", "has_aux", "wrt", "axis_name")
def value_and_grad(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    shift: Tree,
    *data: *Ts,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Evaluate and differentiate a loss at shifted parameters.

    .. math:: \left(L(w + a),\ \nabla_w L(w + a)\right)

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, ``w``.
        shift: The shift ``a``, as in `gradient`: it may leave leaves out.
        *data: Pytrees handed on to ``loss_fn``; not differentiated.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
            The others are moved too, but get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss is the mean of the devices'
            losses; ``None``: it is the device's own.

    Returns:
        The loss at the shifted parameters, of shape ``()``, and the gradient, a tree like ``params``. With ``has_aux``,
        ``((loss, aux), gradient)``: the aux at the shifted parameters, not differentiated; inside of `jax.shard_map` it
        is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If ``shift`` has a leaf that ``params`` has not, or not in that shape and dtype, the loss is no
            scalar, ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array; or if ``loss_fn`` returns a pair without
            ``has_aux``, or none with it.

    Cost:
        One gradient, and one copy of the leaves that are moved.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w):
        ...     return jnp.sum(w**2)
        >>> value, slope = jaxgrad.shift.value_and_grad(loss, jnp.array([1.0, 2.0]), jnp.array([1.0, -2.0]))
        >>> value.item(), slope.tolist()
        (4.0, [4.0, 0.0])

    References:
        Foret et al. (2021), Sharpness-aware minimization, ICLR, equation 3.
    """
    _check.differentiable(params=_tree.held(loss_fn, params, wrt).active)
    _partial.check(params, shift)
    subset = _tree.restrict(_partial.shifted(loss_fn, has_aux), params, wrt, (shift, *data), axis_name, has_aux)
    (loss, aux), slopes = jax.value_and_grad(subset.pair, has_aux=True)(subset.active, shift, *data)
    return (loss, aux) if has_aux else loss, subset.embed(slopes)
