"""The gradient of the loss after adaptation, through the last steps of the adaptation alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Literal, overload

import jax
import jax.numpy as jnp
import optax

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Params, T, Tree, Wrt
from jaxgrad.meta._engine._descent import descend, value_and_grad
from jaxgrad.meta._engine._memory import Memory
from jaxgrad.meta._engine._objective import refuse_constant
from jaxgrad.meta._engine._statistics import Statistics, of_state
from jaxgrad.meta._engine._tasks import arguments, check_tasks, mean_of_each, of_one_task
from jaxgrad.meta._engine._told import MetaGradient, reported, told

__all__ = ["truncated_gradient"]


@overload
def truncated_gradient(
    loss_fn: Callable[Concatenate[T, ...], Array],
    params: T,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    window: int,
    has_aux: Literal[False] = False,
    full_output: Literal[False] = False,
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    memory: Memory = None,
    chunk: int | None = None,
    per_step: bool = False,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> T: ...
@overload
def truncated_gradient(
    loss_fn: Callable[Concatenate[T, ...], tuple[Array, Aux]],
    params: T,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    window: int,
    has_aux: Literal[True],
    full_output: Literal[False] = False,
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    memory: Memory = None,
    chunk: int | None = None,
    per_step: bool = False,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@overload
def truncated_gradient(
    loss_fn: Callable[Concatenate[T, ...], Array],
    params: T,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    window: int,
    has_aux: Literal[False] = False,
    full_output: Literal[True],
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    memory: Memory = None,
    chunk: int | None = None,
    per_step: bool = False,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> MetaGradient[T]: ...
@overload
def truncated_gradient(
    loss_fn: Callable[Concatenate[T, ...], tuple[Array, Aux]],
    params: T,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    window: int,
    has_aux: Literal[True],
    full_output: Literal[True],
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    memory: Memory = None,
    chunk: int | None = None,
    per_step: bool = False,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> tuple[MetaGradient[T], Aux]: ...
@jit(
    "loss_fn",
    "optimizer",
    "num_steps",
    "window",
    "has_aux",
    "full_output",
    "wrt",
    "inner_wrt",
    "memory",
    "chunk",
    "per_step",
    "statistics",
    "axis_name",
)
def truncated_gradient(
    loss_fn: Callable[Concatenate[T, ...], Any],
    params: T,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    window: int,
    has_aux: bool = False,
    full_output: bool = False,
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    memory: Memory = None,
    chunk: int | None = None,
    per_step: bool = False,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> Any:
    r"""Differentiate the query losses through the last ``window`` of the inner steps.

    .. math:: \frac{1}{T} \sum_{t=1}^{T} \frac{\partial L(\theta_K^{(t)};\, \text{query}_t)}
              {\partial \theta_{K-W}^{(t)}},

    the derivative by the weights that enter the window of W steps; the optimizer's state that enters it is a constant.
    With ``window=num_steps`` it is `maml_gradient`, with 0 `first_order_gradient`; what lies between leaves out the
    derivatives of the first steps, whose part shrinks where the inner loss is strongly convex.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``, the loss of ONE task, for both levels, as in `maml_gradient`. Static.
            More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, where every task starts.
        support: What the tasks adapt to; tasks along the leading axis of every leaf.
        query: What the adapted parameters are judged on; tasks along the leading axis of every leaf.
        optimizer: An optax transformation for the inner steps, as in `adapt`. Static.
        num_steps: How many inner steps, a Python integer.
        window: Through how many of them, the last ones, the derivative goes: from 0 to ``num_steps``.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        full_output: Whether to return a `MetaGradient`: the value, the inner losses, and where a task diverged.
        wrt: Which leaves the gradient is taken with respect to: glob patterns on their paths, a predicate
            ``wrt(path, leaf)``, or ``None`` for all; zero on the other leaves.
        inner_wrt: Which leaves the inner steps move, given likewise.
        memory: What is kept of the steps in the window, as in `value_and_maml_gradient`.
        chunk: How many tasks at a time, a Python integer; it need not divide their number. ``None``: all at once.
        per_step: Whether ``support`` has, after the axis of tasks, one of steps: each step has data of its own.
        state: The model's state beside its parameters, which the loss then takes and returns, as in
            `value_and_maml_gradient`.
        statistics: ``"frozen"``, ``"transductive"`` or ``"carried"``: what becomes of that state. What enters the
            window is a constant too.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the mean over tasks is that over all
            devices' tasks; ``None``: over the device's own.

    Returns:
        The truncated gradient, with the structure, shapes and dtypes of ``params``. With ``has_aux``, ``(gradient,
        aux)``: the aux of the query loss at the adapted parameters, tasks along its leading axis. With ``full_output``,
        a `MetaGradient` in place of the gradient; its losses are those of all steps.

    Raises:
        ValueError: If ``window`` does not lie from 0 to ``num_steps``, or as in `maml_gradient`.
        TypeError: If ``window`` is no Python integer, or as in `maml_gradient`.

    Cost:
        ``1 + num_steps + 2.7 window`` gradients (FLOPs), all tasks at once. Memory: that of `maml_gradient` with
        ``window`` steps.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import jaxgrad
        >>> def loss(params, target):
        ...     return 0.5 * (params["w"] - target) ** 2
        >>> params, targets = {"w": jnp.array(0.0)}, jnp.array([1.0, 3.0])
        >>> inner = {"optimizer": optax.sgd(0.5), "num_steps": 2}
        >>> [
        ...     jaxgrad.meta.truncated_gradient(loss, params, targets, targets, window=w, **inner)["w"].item()
        ...     for w in (0, 1, 2)
        ... ]
        [-0.5, -0.25, -0.125]

    References:
        Shaban, Cheng, Hatch and Boots (2019), Truncated back-propagation for bilevel optimization, AISTATS, eq. 10.
    """
    loss_fn = of_one_task(loss_fn)
    num_tasks = check_tasks(support, query, per_step=per_step)
    steps = _check.count(num_steps, "num_steps")
    through = _check.count(window, "window", most=steps, advice="it is a number of the last of num_steps inner steps")
    params = _sharding.replicated(params, axis_name)
    judge = of_state(loss_fn, state is not None, statistics == "transductive", has_aux)
    subset = _tree.held(judge, params, wrt, has_aux=True)
    _check.differentiable(params=subset.active)
    refuse_constant(judge, params, state, query, inner_wrt if num_steps else None)
    inner: Any = {"optimizer": optimizer, "wrt": inner_wrt, "has_aux": has_aux, "statistics": statistics}
    inner["per_step"] = per_step
    kept: Any = {"memory": memory, "copies": num_tasks if chunk is None else min(chunk, num_tasks)}

    def of_task(support: Tree, query: Tree) -> tuple[Tree, Tree]:
        first, last = _cut(support, steps - through) if per_step else (support, support)
        early: Any = {"num_steps": steps - through, "state": state, "memory": "unrolled"}
        enters = descend(loss_fn, params, first, **early, **inner)
        data = arguments(query)
        entering = _tree.restrict(judge, enters.params, wrt, (enters.state, *data), None, has_aux=True)

        def ahead(active: Params) -> tuple[Array, Tree]:
            start = entering.embed(active, lambda leaf: leaf)
            late: Any = {"num_steps": through, "state": enters.state, "opt_state": enters.opt_state}
            after = descend(loss_fn, start, last, **late, **kept, **inner)
            value, (aux, _) = judge(after.params, after.state, *data)
            if not full_output:
                return value, (aux, None)
            whole = after._replace(losses=jnp.concatenate([enters.losses, after.losses]))
            return value, (aux, told(whole, params))

        (value, beside), gradient = value_and_grad(ahead, entering.active)
        return (value, gradient), beside

    mean, (aux, told_of) = mean_of_each(of_task, (support, query), chunk)
    value, gradient = _sharding.mean_over(mean, axis_name)
    gradient = subset.embed(gradient)
    return reported(gradient, value, aux, told_of, has_aux=has_aux)


def _cut(support: Tree, at: int) -> tuple[Tree, Tree]:
    """Return the data of the steps before the window, and of those in it."""
    return jax.tree.map(lambda leaf: leaf[:at], support), jax.tree.map(lambda leaf: leaf[at:], support)
