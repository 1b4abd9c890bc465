"""The gradient of a loss after one optimizer step, through the step or with the step held constant."""

from typing import Any

import jax

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import AxisName, LossFn, Params, Wrt
from jaxgrad.meta._engine._descent import descend, value_and_gradient

__all__ = ["step_gradient"]


@jit("loss_fn", "optimizer", "truncated", "wrt", "axis_name")
def step_gradient(
    loss_fn: LossFn,
    params: Params,
    *data: Any,
    optimizer: Any,
    truncated: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Params:
    r"""Differentiate a loss through one optimizer step on the same data.

    With :math:`\theta' = \theta + u(\nabla L(\theta))`, which is :math:`\theta - \alpha \nabla L(\theta)` for SGD,

    .. math:: \nabla_\theta L(\theta') = (I - \alpha \nabla^2 L(\theta))\, \nabla L(\theta'), \qquad
              \text{truncated: } \nabla L(\theta').

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``.
        params: Pytree of floating-point arrays, before the step.
        *data: Pytrees handed on to ``loss_fn``; not differentiated.
        optimizer: An optax transformation, as in `adapt`. Static.
        truncated: Whether the step counts as a constant shift (first order).
        wrt: Which leaves the gradient is taken with respect to: glob patterns on their paths, a predicate
            ``wrt(path, leaf)``, or ``None`` for all; zero on the other leaves. The step moves every leaf.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss, of every step, is the mean of
            the devices' losses; ``None``: it is the device's own.

    Returns:
        The gradient, with the structure, shapes and dtypes of ``params``.

    Raises:
        ValueError: If the loss is no scalar, ``wrt`` selects nothing, the step holds a while loop (a line search), or
            ``axis_name`` is no axis around.
        TypeError: If ``optimizer`` is no optax transformation, or a leaf is no real floating-point array.

    Cost:
        About 4.6 gradients (FLOPs); truncated, 2.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> def loss(params, x):
        ...     return jnp.sum(params["w"] ** 2 * x)
        >>> params, x = {"w": jnp.array([1.0])}, jnp.array([1.0])
        >>> step_gradient(loss, params, x, optimizer=optax.sgd(0.25))["w"].item()
        0.5
        >>> step_gradient(loss, params, x, optimizer=optax.sgd(0.25), truncated=True)["w"].item()
        1.0

    References:
        Finn, Abbeel and Levine (2017), Model-agnostic meta-learning, ICML, equation 1 and section 5.2.
    """
    loss = _sharding.mean_of(_check.scalar_loss(loss_fn), axis_name)
    subset = _tree.restrict(loss, _sharding.replicated(params, axis_name), wrt, data)
    _check.differentiable(params=subset.active)

    def step(active: Params) -> Params:
        start = subset.embed(active, lambda leaf: leaf)
        return descend(loss, start, data, optimizer=optimizer, num_steps=1)

    if truncated:
        ahead = _tree.restrict(loss, step(subset.active), wrt, data)
        return subset.embed(jax.grad(ahead.fun)(ahead.active, *data))
    return subset.embed(value_and_gradient(lambda active: loss(step(active), *data), subset.active)[1])
