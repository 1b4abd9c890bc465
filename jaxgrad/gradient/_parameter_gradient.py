"""The gradient of a loss with respect to its parameters, alone or with the loss."""

from typing import Any

import jax

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, AxisName, LossFn, Params, Wrt

__all__ = ["parameter_gradient", "value_and_gradient"]


@jit("loss_fn", "wrt", "axis_name")
def value_and_gradient(
    loss_fn: LossFn, params: Params, *data: Any, wrt: Wrt = None, axis_name: AxisName = None
) -> tuple[Array, Params]:
    r"""Compute a loss and its gradient with respect to the parameters in one pass.

    .. math:: \left(L(\theta),\ \nabla_\theta L(\theta)\right)

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``.
        params: Pytree of floating-point arrays, the point.
        *data: Pytrees handed on to ``loss_fn``; not differentiated.
        wrt: Which leaves count: glob patterns on their paths (``"*/kernel"``, ``"trunk"``), a predicate
            ``wrt(path, leaf)``, or ``None`` for all.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss is the mean of the devices'
            losses; ``None``: it is the device's own.

    Returns:
        The loss, and the gradient with the structure, shapes and dtypes of ``params``, zero on the leaves that do
        not count.

    Raises:
        ValueError: If the loss is no scalar, ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array, or the loss is no real number.

    Cost:
        One gradient: at most 4 evaluations of the loss, 3 where matrix products dominate.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss(params, x):
        ...     return jnp.sum(params["w"] * x) ** 2
        >>> value, gradient = value_and_gradient(loss, {"w": jnp.ones(2)}, jnp.array([1.0, 3.0]))
        >>> value.item(), gradient["w"].tolist()
        (16.0, [8.0, 24.0])

    References:
        Griewank and Walther (2008), Evaluating Derivatives, 2nd ed., section 4.6.
    """
    subset = _tree.restrict(_check.scalar_loss(loss_fn), params, wrt, data, axis_name)
    _check.differentiable(params=subset.active)
    loss, gradient = jax.value_and_grad(subset.fun)(subset.active, *data)
    return loss, subset.embed(gradient)


@jit("loss_fn", "wrt", "axis_name")
def parameter_gradient(
    loss_fn: LossFn, params: Params, *data: Any, wrt: Wrt = None, axis_name: AxisName = None
) -> Params:
    r"""Compute the gradient of a loss with respect to its parameters.

    .. math:: g = \nabla_\theta L(\theta)

    A part of the loss that must not carry gradient is written with ``jax.lax.stop_gradient``.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``.
        params: Pytree of floating-point arrays, the point.
        *data: Pytrees handed on to ``loss_fn``; not differentiated.
        wrt: Which leaves count: glob patterns on their paths (``"*/kernel"``, ``"trunk"``), a predicate
            ``wrt(path, leaf)`` (``lambda path, leaf: leaf.ndim > 1``), or ``None`` for all.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss is the mean of the devices'
            losses; ``None``: it is the device's own.

    Returns:
        The gradient with the structure, shapes and dtypes of ``params``, zero on the leaves that do not count.

    Raises:
        ValueError: If the loss is no scalar, ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array, or the loss is no real number.

    Cost:
        One gradient.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss(params, x):
        ...     return params["scale"] * jnp.sum(params["w"] * x)
        >>> params = {"scale": jnp.array(2.0), "w": jnp.ones(2)}
        >>> parameter_gradient(loss, params, jnp.array([1.0, 3.0]), wrt="w")["w"].tolist()
        [2.0, 6.0]

    References:
        Griewank and Walther (2008), Evaluating Derivatives, 2nd ed., section 3.2.
    """
    _, gradient = value_and_gradient(loss_fn, params, *data, wrt=wrt, axis_name=axis_name)
    return gradient
