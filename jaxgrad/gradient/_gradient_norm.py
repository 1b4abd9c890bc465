"""The norm of a gradient, and the gradient of its square."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, T, Tree, Ts, Wrt
from jaxgrad.gradient._clipping import global_norm
from jaxgrad.gradient._parameter_gradient import value_and_grad

__all__ = ["gradient_norm", "squared_norm_gradient"]


@overload
def gradient_norm(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *data: *Ts,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Array: ...
@overload
def gradient_norm(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *data: *Ts,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Array, Aux]: ...
@jit("loss_fn", "has_aux", "wrt", "axis_name")
def gradient_norm(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Compute the Euclidean norm of the gradient over all leaves; it can be differentiated again.

    .. math:: \lVert g \rVert_2, \quad g = \nabla L(\theta), \qquad
              \nabla \lVert g \rVert_2 = \frac{H g}{\lVert g \rVert_2}

    Where the gradient is zero the derivative is taken to be zero, as torch takes it; the raw formula gives NaN.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, the point.
        *data: Pytrees handed on to ``loss_fn``; not differentiated.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
            The norm is that of the chosen part of the gradient.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss is the mean of the devices'
            losses; ``None``: it is the device's own.

    Returns:
        The norm, of shape ``()``, accumulated in float32 or wider. With ``has_aux``, ``(norm, aux)``: the aux of the
        same pass, not differentiated; inside of `jax.shard_map` it is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If the loss is no scalar, ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array; or if ``loss_fn`` returns a pair without
            ``has_aux``, or none with it.

    Cost:
        One gradient.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def half_square(params):
        ...     return 0.5 * jnp.sum(params**2)
        >>> jaxgrad.gradient.gradient_norm(half_square, jnp.array([3.0, 4.0])).item()
        5.0
        >>> jax.grad(lambda p: jaxgrad.gradient.gradient_norm(half_square, p))(jnp.zeros(2)).tolist()
        [0.0, 0.0]

    References:
        Zhao, Zhang and Hu (2022), Penalizing gradient norm for efficiently improving generalization, ICML, eq. 2-5.
    """
    options: Any = {"has_aux": has_aux, "wrt": wrt, "axis_name": axis_name}
    value, gradient = value_and_grad(loss_fn, params, *data, **options)
    norm = global_norm(gradient)
    return (norm, value[1]) if has_aux else norm


@overload
def squared_norm_gradient(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *data: *Ts,
    has_aux: Literal[False] = False,
    mode: Literal["forward-over-reverse", "reverse-over-reverse"] = "forward-over-reverse",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Array, T]: ...
@overload
def squared_norm_gradient(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *data: *Ts,
    has_aux: Literal[True],
    mode: Literal["forward-over-reverse", "reverse-over-reverse"] = "forward-over-reverse",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[tuple[Array, T], Aux]: ...
@jit("loss_fn", "has_aux", "mode", "wrt", "axis_name")
def squared_norm_gradient(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    has_aux: bool = False,
    mode: Literal["forward-over-reverse", "reverse-over-reverse"] = "forward-over-reverse",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Compute the squared norm of the gradient and the gradient of that.

    .. math:: G = \sum_i g_i^2, \quad g = \nabla L(\theta), \qquad \nabla G = 2 H g

    With ``wrt`` both the sum and the gradient are over the chosen leaves: :math:`\nabla_c \lVert g_c \rVert^2 =
    2 H_{cc}\, g_c`. The derivative of the whole sum with respect to one leaf is that leaf of the whole result.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, the point.
        *data: Pytrees handed on to ``loss_fn``; not differentiated.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        mode: ``"forward-over-reverse"`` (the gradient's linearisation, applied to itself), or
            ``"reverse-over-reverse"`` for a loss with an operation that has no forward rule.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss is the mean of the devices'
            losses; ``None``: it is the device's own.

    Returns:
        ``G``, of shape ``()``, accumulated in float32 or wider, and its gradient with the structure, shapes and dtypes
        of ``params``, zero on the leaves that do not count. With ``has_aux``, ``((G, gradient), aux)``: the aux of the
        same pass, not differentiated; inside of `jax.shard_map` it is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If the loss is no scalar, ``wrt`` selects nothing, the mode is unknown, or ``axis_name`` is no axis
            around.
        TypeError: If a leaf that counts is no real floating-point array; or if ``loss_fn`` returns a pair without
            ``has_aux``, or none with it.

    Cost:
        About 2.5 gradients in time, the first included, and two in memory.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def half_square(params, scale):
        ...     return 0.5 * jnp.sum(scale * params**2)
        >>> square, gradient = jaxgrad.gradient.squared_norm_gradient(half_square, jnp.ones(2), jnp.array([1.0, 3.0]))
        >>> square.item(), gradient.tolist()
        (10.0, [2.0, 18.0])

    References:
        Barrett and Dherin (2021), Implicit gradient regularization, ICLR, eq. 3.
    """
    _check.choice(mode, "mode", ("forward-over-reverse", "reverse-over-reverse"))
    subset = _tree.restrict(_check.scalar_loss(loss_fn, has_aux=has_aux), params, wrt, data, axis_name, has_aux)
    _check.differentiable(params=subset.active)

    def gradient(active: Tree) -> tuple[Tree, Any]:
        return jax.grad(subset.pair, has_aux=True)(active, *data)

    if mode == "forward-over-reverse":
        slope, hessian, aux = jax.linearize(gradient, subset.active, has_aux=True)
        product = hessian(slope)
    else:
        slope, pullback, aux = jax.vjp(gradient, subset.active, has_aux=True)
        (product,) = pullback(slope)
    result = _tree.dot(slope, slope), subset.embed(_tree.add(product, product))
    return (result, aux) if has_aux else result
