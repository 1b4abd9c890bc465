"""The gradient of a loss with respect to its parameters, alone or with the loss."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, T, Ts, Wrt

__all__ = ["parameter_gradient", "value_and_grad"]


@overload
def value_and_grad(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *data: *Ts,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Array, T]: ...
@overload
def value_and_grad(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *data: *Ts,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[tuple[Array, Aux], T]: ...
@jit("loss_fn", "has_aux", "wrt", "axis_name")
def value_and_grad(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Compute a loss and its gradient with respect to the parameters in one pass.

    .. math:: \left(L(\theta),\ \nabla_\theta L(\theta)\right)

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, the point.
        *data: Pytrees handed on to ``loss_fn``; not differentiated.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths (``"*/kernel"``, ``"trunk"``), a predicate
            ``wrt(path, leaf)``, or ``None`` for all.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss is the mean of the devices'
            losses; ``None``: it is the device's own.

    Returns:
        The loss, and the gradient with the structure, shapes and dtypes of ``params``, zero on the leaves that do
        not count. With ``has_aux``, ``((loss, aux), gradient)``: the aux of the same pass, not differentiated; inside
        of `jax.shard_map` it is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If the loss is no scalar, ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array, the loss is no real number, or ``loss_fn``
            returns a pair without ``has_aux``, or none with it.

    Cost:
        One gradient: at most 4 evaluations of the loss, 3 where matrix products dominate.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(params, x):
        ...     return jnp.sum(params["w"] * x) ** 2
        >>> value, gradient = jaxgrad.gradient.value_and_grad(loss, {"w": jnp.ones(2)}, jnp.array([1.0, 3.0]))
        >>> value.item(), gradient["w"].tolist()
        (16.0, [8.0, 24.0])

    References:
        Griewank and Walther (2008), Evaluating Derivatives, 2nd ed., section 4.6.
    """
    subset = _tree.restrict(_check.scalar_loss(loss_fn, has_aux=has_aux), params, wrt, data, axis_name, has_aux)
    _check.differentiable(params=subset.active)
    (loss, aux), gradient = jax.value_and_grad(subset.pair, has_aux=True)(subset.active, *data)
    return (loss, aux) if has_aux else loss, subset.embed(gradient)


@overload
def parameter_gradient(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *data: *Ts,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> T: ...
@overload
def parameter_gradient(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *data: *Ts,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@jit("loss_fn", "has_aux", "wrt", "axis_name")
def parameter_gradient(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Compute the gradient of a loss with respect to its parameters.

    .. math:: g = \nabla_\theta L(\theta)

    A part of the loss that must not carry gradient is written with ``jax.lax.stop_gradient``.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, the point.
        *data: Pytrees handed on to ``loss_fn``; not differentiated.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths (``"*/kernel"``, ``"trunk"``), a predicate
            ``wrt(path, leaf)`` (``lambda path, leaf: leaf.ndim > 1``), or ``None`` for all.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss is the mean of the devices'
            losses; ``None``: it is the device's own.

    Returns:
        The gradient with the structure, shapes and dtypes of ``params``, zero on the leaves that do not count. With
        ``has_aux``, ``(gradient, aux)``: the aux of the same pass, not differentiated; inside of `jax.shard_map` it is
        the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If the loss is no scalar, ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array, the loss is no real number, or ``loss_fn``
            returns a pair without ``has_aux``, or none with it.

    Cost:
        One gradient.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(params, x):
        ...     return params["scale"] * jnp.sum(params["w"] * x)
        >>> params = {"scale": jnp.array(2.0), "w": jnp.ones(2)}
        >>> jaxgrad.gradient.parameter_gradient(loss, params, jnp.array([1.0, 3.0]), wrt="w")["w"].tolist()
        [2.0, 6.0]
        >>> def loss_and_product(params, x):
        ...     return jnp.sum(params["w"] * x), params["w"] * x
        >>> x = jnp.array([1.0, 3.0])
        >>> gradient, product = jaxgrad.gradient.parameter_gradient(loss_and_product, params, x, has_aux=True)
        >>> product.tolist()
        [1.0, 3.0]

    References:
        Griewank and Walther (2008), Evaluating Derivatives, 2nd ed., section 3.2.
    """
    options: Any = {"has_aux": has_aux, "wrt": wrt, "axis_name": axis_name}
    value, gradient = value_and_grad(loss_fn, params, *data, **options)
    return (gradient, value[1]) if has_aux else gradient
