"""Reptile: from the start towards the adapted parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Literal, overload

import jax
import optax

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, T, Tree, Wrt
from jaxgrad.meta._engine._descent import descend
from jaxgrad.meta._engine._statistics import Statistics
from jaxgrad.meta._engine._tasks import check_tasks, mean_of_each, of_one_task
from jaxgrad.meta._engine._told import MetaGradient, reported, told

__all__ = ["reptile_gradient"]

STATIC = ("chunk", "per_step", "statistics", "axis_name")


@overload
def reptile_gradient(
    loss_fn: Callable[Concatenate[T, ...], Array],
    params: T,
    support: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    has_aux: Literal[False] = False,
    full_output: Literal[False] = False,
    wrt: Wrt = None,
    chunk: int | None = None,
    per_step: bool = False,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> T: ...
@overload
def reptile_gradient(
    loss_fn: Callable[Concatenate[T, ...], tuple[Array, Aux]],
    params: T,
    support: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    has_aux: Literal[True],
    full_output: Literal[False] = False,
    wrt: Wrt = None,
    chunk: int | None = None,
    per_step: bool = False,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@overload
def reptile_gradient(
    loss_fn: Callable[Concatenate[T, ...], Array],
    params: T,
    support: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    has_aux: Literal[False] = False,
    full_output: Literal[True],
    wrt: Wrt = None,
    chunk: int | None = None,
    per_step: bool = False,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> MetaGradient[T]: ...
@overload
def reptile_gradient(
    loss_fn: Callable[Concatenate[T, ...], tuple[Array, Aux]],
    params: T,
    support: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    has_aux: Literal[True],
    full_output: Literal[True],
    wrt: Wrt = None,
    chunk: int | None = None,
    per_step: bool = False,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> tuple[MetaGradient[T], Aux]: ...
@jit("loss_fn", "optimizer", "num_steps", "has_aux", "full_output", "wrt", *STATIC)
def reptile_gradient(
    loss_fn: Callable[Concatenate[T, ...], Any],
    params: T,
    support: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    has_aux: bool = False,
    full_output: bool = False,
    wrt: Wrt = None,
    chunk: int | None = None,
    per_step: bool = False,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> Any:
    r"""Return the mean over tasks of how far the inner steps went, with the sign of a gradient.

    .. math:: \frac{1}{T} \sum_{t=1}^{T} \bigl(\theta - \theta_K^{(t)}\bigr), \qquad
              \theta_K^{(t)} = \text{adapt}(\theta;\, \text{support}_t)

    Handed to ``optax.sgd(1.0)`` it moves the parameters to the mean of the adapted ones; to any other optimizer, it is
    the gradient there. Nothing is differentiated twice and there is no query. Its scale is that of the inner steps:
    one step of gradient descent gives the learning rate times the gradient. Some papers and codes divide it by
    ``learning_rate * num_steps``, to compare with a gradient; here it is not divided.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``, the loss of ONE task. ``data`` are the items of ``support`` where
            that is a plain tuple; any other pytree is handed on as one argument. Static: pass a named function. More
            in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, where every task starts.
        support: What the tasks adapt to; tasks along the leading axis of every leaf.
        optimizer: An optax transformation for the inner steps, as in `adapt`; need not be differentiable. Static.
        num_steps: How many inner steps, a Python integer; with 0 the result is zero.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        full_output: Whether to return a `MetaGradient`: the inner losses, and where a task diverged.
        wrt: Which leaves the inner steps move: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or
            ``None`` for all; zero on the other leaves.
        chunk: How many tasks at a time, a Python integer; it need not divide their number. ``None``: all at once.
        per_step: Whether ``support`` has, after the axis of tasks, one of steps: each step has a minibatch of its own,
            as in the paper.
        state: The model's state beside its parameters, which the loss then takes and returns, as in
            `value_and_maml_gradient`.
        statistics: ``"frozen"``, ``"transductive"`` or ``"carried"``: what becomes of that state between the steps of
            a task, as in `adapt`; the last one is dropped.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the mean over tasks is that over all
            devices' tasks; ``None``: over the device's own. The inner steps are always those of one task, on its
            device.

    Returns:
        The mean of ``params - adapted``, with the structure, shapes and dtypes of ``params``. With ``has_aux``,
        ``(gradient, aux)``: the aux of every step's loss, at the parameters from which the step starts, behind leading
        axes of tasks and of steps. Inside of `jax.shard_map` it is that of the device's own tasks, with ``axis_name``
        too. With ``full_output``, a `MetaGradient` in place of the gradient.

    Raises:
        ValueError: If the tasks do not share one leading axis or there are none, ``num_steps`` is negative, the loss is
            no scalar, ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If ``num_steps`` is no Python integer, ``optimizer`` is no optax transformation, a leaf that moves is
            no real floating-point array, or ``loss_fn`` returns a pair without ``has_aux``, or none with it.

    Cost:
        ``num_steps`` gradients, all tasks at once; the memory of one gradient for every task.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import jaxgrad
        >>> def loss(params, target):
        ...     return 0.5 * (params["w"] - target) ** 2
        >>> params, targets = {"w": jnp.array(0.0)}, jnp.array([1.0, 3.0])
        >>> inner = {"optimizer": optax.sgd(0.5), "num_steps": 2}
        >>> jaxgrad.meta.reptile_gradient(loss, params, targets, **inner)["w"].item()
        -1.5

    References:
        Nichol, Achiam and Schulman (2018), On first-order meta-learning algorithms, algorithm 2.
    """
    loss_fn = of_one_task(loss_fn)
    check_tasks(support)
    params = _sharding.replicated(params, axis_name)
    inner: Any = {"optimizer": optimizer, "num_steps": num_steps, "wrt": wrt, "per_step": per_step}
    inner |= {"state": state, "statistics": statistics, "has_aux": has_aux}
    subset = _tree.held(lambda params: params, params, wrt)
    _check.differentiable(params=subset.active)

    def moved(support: Tree) -> tuple[Any, Tree]:
        after = descend(loss_fn, params, support, **inner)
        way = jax.tree.map(lambda start, end: start - end, subset.active, subset.pick(after.params))
        return way, (after.aux, told(after, params) if full_output else None)

    mean, (aux, told_of) = mean_of_each(moved, (support,), chunk)
    gradient = subset.embed(_sharding.mean_over(mean, axis_name))
    return reported(gradient, None, aux, told_of, has_aux=has_aux)
