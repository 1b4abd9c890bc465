"""The gradient of the loss after adaptation, through the adaptation."""

from typing import Any

import jax

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, AxisName, LossFn, Params, Tree, Wrt
from jaxgrad.meta._engine._descent import arguments, check_tasks, descend, of_one_task, value_and_gradient

__all__ = ["maml_gradient", "maml_value_and_gradient"]


@jit("loss_fn", "optimizer", "num_steps", "wrt", "inner_wrt", "axis_name")
def maml_value_and_gradient(
    loss_fn: LossFn,
    params: Params,
    support: Tree,
    query: Tree,
    *,
    optimizer: Any,
    num_steps: int,
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Array, Params]:
    r"""Return the meta-loss and its gradient, differentiated through every inner step.

    .. math:: M(\theta) = \frac{1}{T} \sum_{t=1}^{T} L(\theta_K^{(t)};\, \text{query}_t), \qquad
              \theta_K^{(t)} = \text{adapt}(\theta;\, \text{support}_t), \qquad \nabla_\theta M

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``, the loss of ONE task, for both levels. ``data`` are the items of
            ``support`` or ``query`` where that is a plain tuple; any other pytree is handed on as one argument.
            Static: pass a named function.
        params: Pytree of floating-point arrays, where every task starts.
        support: What the tasks adapt to; tasks along the leading axis of every leaf.
        query: What the adapted parameters are judged on; tasks along the leading axis of every leaf.
        optimizer: An optax transformation for the inner steps, as in `adapt`. Static.
        num_steps: How many inner steps, a Python integer; with 0 this is the plain gradient on ``query``.
        wrt: Which leaves the gradient is taken with respect to: glob patterns on their paths, a predicate
            ``wrt(path, leaf)``, or ``None`` for all; zero on the other leaves.
        inner_wrt: Which leaves the inner steps move, given likewise: ``inner_wrt="head"`` is ANIL.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the mean over tasks is that over all
            devices' tasks; ``None``: over the device's own. The inner steps are always those of one task, on its
            device.

    Returns:
        The meta-loss, and its gradient with the structure, shapes and dtypes of ``params``.

    Raises:
        ValueError: If the tasks do not share one leading axis or there are none, ``num_steps`` is negative, the loss is
            no scalar, ``wrt`` or ``inner_wrt`` selects nothing, a step holds a while loop (a line search), or
            ``axis_name`` is no axis around.
        TypeError: If ``num_steps`` is no Python integer, ``optimizer`` is no optax transformation, or a leaf that
            counts is no real floating-point array.

    Cost:
        About ``1 + 3.6 num_steps`` gradients (FLOPs), all tasks at once. Memory, for every task: the intermediate
        values of one step, and ``num_steps`` copies of the weights and of the optimizer's state.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> def loss(params, target):
        ...     return 0.5 * (params["w"] - target) ** 2
        >>> params, targets = {"w": jnp.array(0.0)}, jnp.array([1.0, 3.0])
        >>> value, gradient = maml_value_and_gradient(
        ...     loss, params, targets, targets, optimizer=optax.sgd(0.5), num_steps=1
        ... )
        >>> value.item(), gradient["w"].item()
        (0.625, -0.5)

    References:
        Finn, Abbeel and Levine (2017), Model-agnostic meta-learning, ICML, algorithm 1.
        Raghu et al. (2020), Rapid learning or feature reuse?, ICLR: ANIL.
    """
    loss_fn = of_one_task(loss_fn)
    check_tasks(support, query)
    loss = _check.scalar_loss(loss_fn)

    def meta_loss(params: Params) -> Array:
        def after_adaptation(support: Tree, query: Tree) -> Array:
            fast = descend(loss_fn, params, support, optimizer=optimizer, num_steps=num_steps, wrt=inner_wrt)
            return loss(fast, *arguments(query))

        return jax.vmap(after_adaptation)(support, query).mean()

    subset = _tree.restrict(meta_loss, params, wrt, (), axis_name)
    _check.differentiable(params=subset.active)
    value, gradient = value_and_gradient(subset.fun, subset.active)
    return value, subset.embed(gradient)


@jit("loss_fn", "optimizer", "num_steps", "wrt", "inner_wrt", "axis_name")
def maml_gradient(
    loss_fn: LossFn,
    params: Params,
    support: Tree,
    query: Tree,
    *,
    optimizer: Any,
    num_steps: int,
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Params:
    r"""Return the gradient of the meta-loss, differentiated through every inner step.

    The second value of `maml_value_and_gradient`, which explains the arguments at length.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``, the loss of one task, for both levels. Static.
        params: Pytree of floating-point arrays, where every task starts.
        support: What the tasks adapt to; tasks along the leading axis of every leaf.
        query: What the adapted parameters are judged on; tasks along the leading axis of every leaf.
        optimizer: An optax transformation for the inner steps. Static.
        num_steps: How many inner steps, a Python integer.
        wrt: Which leaves the gradient is taken with respect to; zero on the others.
        inner_wrt: Which leaves the inner steps move.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the mean over tasks is that over all
            devices' tasks; ``None``: over the device's own.

    Returns:
        The gradient, with the structure, shapes and dtypes of ``params``.

    Raises:
        ValueError: As `maml_value_and_gradient`.
        TypeError: As `maml_value_and_gradient`.

    Cost:
        As `maml_value_and_gradient`.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> def loss(params, target):
        ...     return 0.5 * (params["w"] - target) ** 2
        >>> params, targets = {"w": jnp.array(0.0)}, jnp.array([1.0, 3.0])
        >>> maml_gradient(loss, params, targets, targets, optimizer=optax.sgd(0.5), num_steps=1)["w"].item()
        -0.5

    References:
        Finn, Abbeel and Levine (2017), Model-agnostic meta-learning, ICML, algorithm 1.
    """
    _, gradient = maml_value_and_gradient(
        loss_fn,
        params,
        support,
        query,
        optimizer=optimizer,
        num_steps=num_steps,
        wrt=wrt,
        inner_wrt=inner_wrt,
        axis_name=axis_name,
    )
    return gradient
