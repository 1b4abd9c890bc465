"""The gradient of the loss after adaptation, through the adaptation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Literal, overload

import jax
import optax

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Params, T, Tree, Wrt
from jaxgrad.meta._engine._descent import arguments, check_tasks, descend, of_one_task, value_and_grad

__all__ = ["maml_gradient", "value_and_maml_gradient"]


@overload
def value_and_maml_gradient(
    loss_fn: Callable[Concatenate[T, ...], Array],
    params: T,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Array, T]: ...
@overload
def value_and_maml_gradient(
    loss_fn: Callable[Concatenate[T, ...], tuple[Array, Aux]],
    params: T,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    has_aux: Literal[True],
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[tuple[Array, Aux], T]: ...
@jit("loss_fn", "optimizer", "num_steps", "has_aux", "wrt", "inner_wrt", "axis_name")
def value_and_maml_gradient(
    loss_fn: Callable[Concatenate[T, ...], Any],
    params: T,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    has_aux: bool = False,
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Return the meta-loss and its gradient, differentiated through every inner step.

    .. math:: M(\theta) = \frac{1}{T} \sum_{t=1}^{T} L(\theta_K^{(t)};\, \text{query}_t), \qquad
              \theta_K^{(t)} = \text{adapt}(\theta;\, \text{support}_t), \qquad \nabla_\theta M

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``, the loss of ONE task, for both levels. ``data`` are the items of
            ``support`` or ``query`` where that is a plain tuple; any other pytree is handed on as one argument.
            Static: pass a named function. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, where every task starts.
        support: What the tasks adapt to; tasks along the leading axis of every leaf.
        query: What the adapted parameters are judged on; tasks along the leading axis of every leaf.
        optimizer: An optax transformation for the inner steps, as in `adapt`. Static.
        num_steps: How many inner steps, a Python integer; with 0 this is the plain gradient on ``query``.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves the gradient is taken with respect to: glob patterns on their paths, a predicate
            ``wrt(path, leaf)``, or ``None`` for all; zero on the other leaves.
        inner_wrt: Which leaves the inner steps move, given likewise: ``inner_wrt="head"`` is ANIL.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the mean over tasks is that over all
            devices' tasks; ``None``: over the device's own. The inner steps are always those of one task, on its
            device.

    Returns:
        The meta-loss, and its gradient with the structure, shapes and dtypes of ``params``. With ``has_aux``,
        ``((value, aux), gradient)``: the aux of the query loss at the adapted parameters, tasks along its leading axis;
        that of the inner steps is dropped. Inside of `jax.shard_map` it is that of the device's own tasks, with
        ``axis_name`` too.

    Raises:
        ValueError: If the tasks do not share one leading axis or there are none, ``num_steps`` is negative, the loss is
            no scalar, ``wrt`` or ``inner_wrt`` selects nothing, a step holds a while loop (a line search), or
            ``axis_name`` is no axis around.
        TypeError: If ``num_steps`` is no Python integer, ``optimizer`` is no optax transformation, a leaf that counts
            is no real floating-point array, or ``loss_fn`` returns a pair without ``has_aux``, or none with it.

    Cost:
        About ``1 + 3.6 num_steps`` gradients (FLOPs), all tasks at once. Memory, for every task: the intermediate
        values of one step, and ``num_steps`` copies of the weights and of the optimizer's state.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import jaxgrad
        >>> def loss(params, target):
        ...     return 0.5 * (params["w"] - target) ** 2
        >>> params, targets = {"w": jnp.array(0.0)}, jnp.array([1.0, 3.0])
        >>> value, gradient = jaxgrad.meta.value_and_maml_gradient(
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
    inner: Any = {"optimizer": optimizer, "num_steps": num_steps, "wrt": inner_wrt}
    loss = _tree.held(_check.scalar_loss(loss_fn, has_aux=has_aux), params, None, has_aux)

    def meta_loss(params: Params) -> tuple[Array, Tree]:
        def after_adaptation(support: Tree, query: Tree) -> tuple[Array, Tree]:
            fast, _ = descend(loss.fun, params, support, **inner)
            return loss.pair(fast, *arguments(query))

        values, aux = jax.vmap(after_adaptation)(support, query)
        return values.mean(), aux

    subset = _tree.restrict(meta_loss, params, wrt, (), axis_name, has_aux=True)
    _check.differentiable(params=subset.active)
    (value, aux), gradient = value_and_grad(subset.pair, subset.active)
    return (value, aux) if has_aux else value, subset.embed(gradient)


@overload
def maml_gradient(
    loss_fn: Callable[Concatenate[T, ...], Array],
    params: T,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    axis_name: AxisName = None,
) -> T: ...
@overload
def maml_gradient(
    loss_fn: Callable[Concatenate[T, ...], tuple[Array, Aux]],
    params: T,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    has_aux: Literal[True],
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@jit("loss_fn", "optimizer", "num_steps", "has_aux", "wrt", "inner_wrt", "axis_name")
def maml_gradient(
    loss_fn: Callable[Concatenate[T, ...], Any],
    params: T,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    has_aux: bool = False,
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Return the gradient of the meta-loss, differentiated through every inner step.

    The second value of `value_and_maml_gradient`, which explains the arguments at length.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``, the loss of one task, for both levels. Static. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, where every task starts.
        support: What the tasks adapt to; tasks along the leading axis of every leaf.
        query: What the adapted parameters are judged on; tasks along the leading axis of every leaf.
        optimizer: An optax transformation for the inner steps. Static.
        num_steps: How many inner steps, a Python integer.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves the gradient is taken with respect to; zero on the others.
        inner_wrt: Which leaves the inner steps move.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the mean over tasks is that over all
            devices' tasks; ``None``: over the device's own.

    Returns:
        The gradient, with the structure, shapes and dtypes of ``params``. With ``has_aux``, ``(gradient, aux)``: the
        aux of the query loss at the adapted parameters, tasks along its leading axis, as in `value_and_maml_gradient`.

    Raises:
        ValueError: As `value_and_maml_gradient`.
        TypeError: As `value_and_maml_gradient`.

    Cost:
        As `value_and_maml_gradient`.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import jaxgrad
        >>> def loss(params, target):
        ...     return 0.5 * (params["w"] - target) ** 2
        >>> params, targets = {"w": jnp.array(0.0)}, jnp.array([1.0, 3.0])
        >>> inner = {"optimizer": optax.sgd(0.5), "num_steps": 1}
        >>> jaxgrad.meta.maml_gradient(loss, params, targets, targets, **inner)["w"].item()
        -0.5
        >>> def loss_and_weight(params, target):
        ...     return loss(params, target), params["w"]
        >>> _, adapted = jaxgrad.meta.maml_gradient(
        ...     loss_and_weight, params, targets, targets, has_aux=True, **inner
        ... )
        >>> adapted.tolist()
        [0.5, 1.5]

    References:
        Finn, Abbeel and Levine (2017), Model-agnostic meta-learning, ICML, algorithm 1.
    """
    options: Any = {"optimizer": optimizer, "num_steps": num_steps, "has_aux": has_aux}
    which: Any = {"wrt": wrt, "inner_wrt": inner_wrt, "axis_name": axis_name}
    value, gradient = value_and_maml_gradient(loss_fn, params, support, query, **options, **which)
    return (gradient, value[1]) if has_aux else gradient
