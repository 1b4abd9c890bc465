"""The gradient at the adapted parameters: MAML without its second derivatives."""

from typing import Any

import jax

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, AxisName, LossFn, Params, Tree, Wrt
from jaxgrad.meta._engine._descent import arguments, check_tasks, descend, of_one_task

__all__ = ["first_order_gradient", "first_order_value_and_gradient"]


@jit("loss_fn", "optimizer", "num_steps", "wrt", "inner_wrt", "axis_name")
def first_order_value_and_gradient(
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
    r"""Return the meta-loss and the mean over tasks of the gradient AT the adapted parameters.

    .. math:: \frac{1}{T} \sum_{t=1}^{T} \nabla L(\theta_K^{(t)};\, \text{query}_t), \qquad
              \theta_K^{(t)} = \text{adapt}(\theta;\, \text{support}_t)

    First-order MAML: the inner steps count as constants, so this is no gradient of the meta-loss, and much cheaper
    than `maml_value_and_gradient`. The optimizer need not be differentiable.

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
        inner_wrt: Which leaves the inner steps move, given likewise.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the mean over tasks is that over all
            devices' tasks; ``None``: over the device's own. The inner steps are always those of one task, on its
            device.

    Returns:
        The meta-loss, and the first-order gradient with the structure, shapes and dtypes of ``params``.

    Raises:
        ValueError: If the tasks do not share one leading axis or there are none, ``num_steps`` is negative, the loss is
            no scalar, ``wrt`` or ``inner_wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If ``num_steps`` is no Python integer, ``optimizer`` is no optax transformation, or a leaf that
            counts is no real floating-point array.

    Cost:
        ``1 + num_steps`` gradients, all tasks at once; the memory of one gradient for every task.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> def loss(params, target):
        ...     return 0.5 * (params["w"] - target) ** 2
        >>> params, targets = {"w": jnp.array(0.0)}, jnp.array([1.0, 3.0])
        >>> value, gradient = first_order_value_and_gradient(
        ...     loss, params, targets, targets, optimizer=optax.sgd(0.5), num_steps=1
        ... )
        >>> value.item(), gradient["w"].item()
        (0.625, -1.0)

    References:
        Finn, Abbeel and Levine (2017), Model-agnostic meta-learning, ICML, section 5.2.
        Nichol, Achiam and Schulman (2018), On first-order meta-learning algorithms.
    """
    loss_fn = of_one_task(loss_fn)
    check_tasks(support, query)
    params = _sharding.replicated(params, axis_name)
    subset = _tree.held(_check.scalar_loss(loss_fn), params, wrt)
    _check.differentiable(params=subset.active)

    def at_adapted(support: Tree, query: Tree) -> tuple[Array, Params]:
        fast = descend(loss_fn, params, support, optimizer=optimizer, num_steps=num_steps, wrt=inner_wrt)
        ahead = _tree.restrict(_check.scalar_loss(loss_fn), fast, wrt, arguments(query))
        return jax.value_and_grad(ahead.fun)(ahead.active, *arguments(query))

    values, gradients = jax.vmap(at_adapted)(support, query)
    value, gradient = jax.tree.map(lambda leaf: leaf.mean(0), (values, gradients))
    return _sharding.mean_over(value, axis_name), subset.embed(_sharding.mean_over(gradient, axis_name))


@jit("loss_fn", "optimizer", "num_steps", "wrt", "inner_wrt", "axis_name")
def first_order_gradient(
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
    r"""Return the mean over tasks of the gradient AT the adapted parameters: first-order MAML.

    The second value of `first_order_value_and_gradient`, which explains the arguments at length.

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
        The first-order gradient, with the structure, shapes and dtypes of ``params``.

    Raises:
        ValueError: As `first_order_value_and_gradient`.
        TypeError: As `first_order_value_and_gradient`.

    Cost:
        As `first_order_value_and_gradient`.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> def loss(params, target):
        ...     return 0.5 * (params["w"] - target) ** 2
        >>> params, targets = {"w": jnp.array(0.0)}, jnp.array([1.0, 3.0])
        >>> first_order_gradient(loss, params, targets, targets, optimizer=optax.sgd(0.5), num_steps=1)["w"].item()
        -1.0

    References:
        Finn, Abbeel and Levine (2017), Model-agnostic meta-learning, ICML, section 5.2.
    """
    _, gradient = first_order_value_and_gradient(
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
