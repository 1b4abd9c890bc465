"""The gradient of a loss after one optimizer step, through the step or with the step held constant."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax
import optax

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, Params, T, Ts, Wrt
from jaxgrad.meta._engine._descent import descend, value_and_grad

__all__ = ["step_gradient"]


@overload
def step_gradient(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *data: *Ts,
    optimizer: optax.GradientTransformation,
    truncated: bool = False,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> T: ...
@overload
def step_gradient(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *data: *Ts,
    optimizer: optax.GradientTransformation,
    truncated: bool = False,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@jit("loss_fn", "optimizer", "truncated", "has_aux", "wrt", "axis_name")
def step_gradient(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    optimizer: optax.GradientTransformation,
    truncated: bool = False,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Differentiate a loss through one optimizer step on the same data.

    With :math:`\theta' = \theta + u(\nabla L(\theta))`, which is :math:`\theta - \alpha \nabla L(\theta)` for SGD,

    .. math:: \nabla_\theta L(\theta') = (I - \alpha \nabla^2 L(\theta))\, \nabla L(\theta'), \qquad
              \text{truncated: } \nabla L(\theta').

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, before the step.
        *data: Pytrees handed on to ``loss_fn``; not differentiated.
        optimizer: An optax transformation, as in `adapt`. Static.
        truncated: Whether the step counts as a constant shift (first order).
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves the gradient is taken with respect to: glob patterns on their paths, a predicate
            ``wrt(path, leaf)``, or ``None`` for all; zero on the other leaves. The step moves every leaf.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss, of every step, is the mean of
            the devices' losses; ``None``: it is the device's own.

    Returns:
        The gradient, with the structure, shapes and dtypes of ``params``. With ``has_aux``, ``(gradient, aux)``: the
        aux of the second pass, at :math:`\theta'`, after the step. Inside of `jax.shard_map` it is the device's own,
        with ``axis_name`` too.

    Raises:
        ValueError: If the loss is no scalar, ``wrt`` selects nothing, the step holds a while loop (a line search), or
            ``axis_name`` is no axis around.
        TypeError: If ``optimizer`` is no optax transformation, a leaf is no real floating-point array, or ``loss_fn``
            returns a pair without ``has_aux``, or none with it.

    Cost:
        About 4 gradients (FLOPs); truncated, 2.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import jaxgrad
        >>> def loss(params, x):
        ...     return jnp.sum(params["w"] ** 2 * x)
        >>> params, x = {"w": jnp.array([1.0])}, jnp.array([1.0])
        >>> jaxgrad.meta.step_gradient(loss, params, x, optimizer=optax.sgd(0.25))["w"].item()
        0.5
        >>> jaxgrad.meta.step_gradient(loss, params, x, optimizer=optax.sgd(0.25), truncated=True)["w"].item()
        1.0

    References:
        Finn, Abbeel and Levine (2017), Model-agnostic meta-learning, ICML, equation 1 and section 5.2.
    """
    loss = _sharding.mean_of(_check.scalar_loss(loss_fn, has_aux=has_aux), axis_name, has_aux)
    params = _sharding.replicated(params, axis_name)
    subset, whole = _tree.restrict(loss, params, wrt, data, None, has_aux), _tree.held(loss, params, None, has_aux)
    _check.differentiable(params=subset.active)

    def step(active: Params) -> Params:
        start = subset.embed(active, lambda leaf: leaf)
        return descend(whole.fun, start, data, optimizer=optimizer, num_steps=1).params

    if truncated:
        ahead = _tree.restrict(loss, step(subset.active), wrt, data, None, has_aux)
        gradient, aux = jax.grad(ahead.pair, has_aux=True)(ahead.active, *data)
    else:
        (_, aux), gradient = value_and_grad(lambda active: whole.pair(step(active), *data), subset.active)
    return (subset.embed(gradient), aux) if has_aux else subset.embed(gradient)
