"""The meta-loss: the loss of every task's query after the adaptation to its support."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgrad import _check, _sharding, _tree
from jaxgrad._types import Array, AxisName, Params, Tree, Wrt
from jaxgrad.meta._engine._dependence import chosen, refuse_independent
from jaxgrad.meta._engine._descent import descend, value_and_grad
from jaxgrad.meta._engine._statistics import of_state
from jaxgrad.meta._engine._tasks import arguments, check_tasks, mean_over_tasks, of_one_task
from jaxgrad.meta._engine._told import told

__all__ = ["STATIC", "refuse_constant", "through_steps"]

STATIC = ("memory", "chunk", "per_step", "statistics", "axis_name")
"""The static options that the meta-gradients share."""


def through_steps(
    loss_fn: Callable[..., Any],
    params: Params,
    support: Tree,
    query: Tree,
    *,
    wrt: Wrt,
    inner_wrt: Wrt,
    chunk: int | None,
    learning_rates: Tree,
    axis_name: AxisName,
    by_rates: bool = False,
    **options: Any,
) -> tuple[tuple[Array, Tree, Any], Tree]:
    """Return ``((value, aux, told), gradient)`` of the meta-loss, differentiated through every inner step.

    Args:
        loss_fn: The loss of one task.
        params: Where every task starts.
        support: What the tasks adapt to.
        query: What the adapted parameters are judged on.
        wrt: Which of the parameters the gradient is by; zero on the others.
        inner_wrt: Which of them the steps move.
        chunk: How many tasks at a time; ``None``: all.
        learning_rates: Factors of the updates.
        axis_name: The axes of a `jax.shard_map` over which the tasks lie.
        by_rates: Whether the gradient is the pair of that by the parameters and that by the learning rates.
        **options: Those of `_objective` and of `descend`.
    """
    params = _sharding.replicated(params, axis_name)
    subset = _tree.held(lambda params: params, params, wrt)
    moving: tuple[Params, Tree] = subset.active, None
    if by_rates:
        rates = _sharding.replicated(learning_rates, axis_name)
        _check.floating(learning_rates=rates)
        moving = subset.active, jax.tree.map(jnp.asarray, rates)
    _check.differentiable(params=subset.active)
    meta = _objective(loss_fn, params, support, query, chunk=chunk, wrt=inner_wrt, **options)

    def at(moving: tuple[Params, Tree]) -> tuple[Params, Tree]:
        return subset.embed(moving[0], lambda leaf: leaf), moving[1] if by_rates else learning_rates

    given: Any = {"at": at, "chunk": chunk, "axis_name": axis_name}
    beside, (slope, of_rates) = _value_and_gradient(meta, moving, (support, query), **given)
    slope = subset.embed(slope)
    return beside, (slope, of_rates) if by_rates else slope


class _Objective(NamedTuple):
    """The meta-loss of some tasks."""

    losses: Callable[..., tuple[Array, tuple[Tree, Any]]]
    """``losses(params, learning_rates, tasks)``: the loss of each of the tasks ``(support, query)``, its aux, and what
    the steps tell of themselves."""
    num_tasks: int


def _objective(
    loss_fn: Callable[..., Any],
    params: Params,
    support: Tree,
    query: Tree,
    *,
    has_aux: bool = False,
    full_output: bool = False,
    chunk: int | None = None,
    step_weights: Any = None,
    state: Tree = None,
    statistics: Any = "frozen",
    **inner: Any,
) -> _Objective:
    """Return the meta-loss; ``inner`` are options of `descend`, and with ``full_output`` the steps tell of themselves.

    Raises:
        ValueError: If there are no tasks, or the loss of the query does not depend on the parameters.
    """
    loss_fn = of_one_task(loss_fn)
    num_tasks = check_tasks(support, query, per_step=inner["per_step"])
    inner["copies"] = num_tasks if chunk is None else min(_check.count(chunk, "chunk", least=1), num_tasks)
    # frozen leaves of params are closed over once, and the inner loss and that of the query are the same function
    judge = of_state(loss_fn, state is not None, statistics == "transductive", has_aux)
    # no steps move nothing, and leave the plain gradient
    refuse_constant(judge, params, state, query, inner["wrt"] if inner["num_steps"] else None)
    weights = _step_weights(step_weights, inner["num_steps"])

    def judged(params: Params, state: Tree, query: Tree) -> tuple[Array, Tree]:
        value, (aux, _) = judge(params, state, *arguments(query))
        return value, aux

    def loss_of(params: Params, learning_rates: Tree, support: Tree, query: Tree) -> tuple[Array, tuple[Tree, Any]]:
        def watch(fast: Params, now: Tree) -> Array:
            return judged(fast, now, query)[0]

        options: Any = {**inner, "learning_rates": learning_rates, "state": state, "statistics": statistics}
        after = descend(loss_fn, params, support, has_aux=has_aux, watch=None if weights is None else watch, **options)
        value, aux = judged(after.params, after.state, query)
        beside = aux, told(after, params) if full_output else None
        if weights is None:
            return value, beside
        return jnp.vdot(weights.astype(after.watched.dtype), after.watched), beside

    def losses(params: Params, learning_rates: Tree, tasks: tuple[Tree, Tree]) -> tuple[Array, tuple[Tree, Any]]:
        return jax.vmap(lambda task: loss_of(params, learning_rates, *task))(tasks)

    return _Objective(losses, num_tasks)


def _value_and_gradient(
    meta: _Objective,
    moving: Tree,
    tasks: tuple[Tree, Tree],
    *,
    at: Callable[[Tree], tuple[Params, Tree]],
    chunk: int | None,
    axis_name: AxisName,
) -> tuple[tuple[Array, Tree, Any], Tree]:
    """Return ``((value, aux, told), gradient)`` of the mean over tasks, by ``moving``; ``at`` makes its arguments.

    In chunks, the gradient of one chunk is taken before the next begins: memory is that of a chunk.
    """
    kinds: list[Any] = []

    def gradient(tasks: tuple[Tree, Tree], weights: Array | None = None) -> tuple[Tree, Tree]:
        def total(moving: Tree) -> tuple[Array, tuple[Tree, Any]]:
            values, beside = meta.losses(*at(moving), tasks)
            kinds.append(values.dtype)
            if weights is None:
                return values.mean(), beside
            kept = _tree.accumulator(values.dtype)
            return jnp.vdot(values.astype(kept), weights.astype(kept)), beside

        mean = _sharding.mean_of(total, axis_name, has_aux=True)
        (value, beside), slope = value_and_grad(mean, _sharding.own(lambda moving: mean(moving)[0], moving))
        return (value, slope) if weights is None else _tree.widened((value, slope)), beside

    if chunk is None or chunk >= meta.num_tasks:
        (value, slope), beside = gradient(tasks)
        return (value, *beside), slope
    (value, slope), beside = mean_over_tasks(gradient, tasks, chunk)
    slope = jax.tree.map(lambda g, leaf: g.astype(leaf.dtype), slope, moving)
    return (value.astype(kinds[0]), *beside), slope


def _step_weights(weights: Any, num_steps: int) -> Array | None:
    """Return the weights of the query's loss after each step.

    Raises:
        ValueError: If there is not one for each step.
    """
    if weights is None:
        return None
    _check.floating(step_weights=weights)
    if isinstance(weights, list | tuple):
        weights = jnp.stack([jnp.asarray(weight) for weight in weights])
    if jnp.shape(weights) != (num_steps,):
        message = (
            f"step_weights must be one number for each of the {num_steps} steps, of shape ({num_steps},): the loss of"
            f" the query after that step; got {_check.describe(jnp.asarray(weights))}"
        )
        raise ValueError(message)
    return jnp.asarray(weights)


def refuse_constant(judge: Callable[..., Any], params: Params, state: Tree, query: Tree, wrt: Wrt) -> None:
    """Refuse a loss of the query that no adapted parameter enters.

    The meta-gradient would be zero, or that of a plain batch, and nobody would know.

    Args:
        judge: ``judge(params, state, *query) -> (loss, aux)``, of one task.
        params: The parameters.
        state: The model's state.
        query: Tree whose leaves have the tasks along their leading axis.
        wrt: Which of the parameters the inner steps move.

    Raises:
        ValueError: If that is so.
    """

    def losses(params: Params) -> Array:
        return jax.vmap(lambda task: judge(params, state, *arguments(task))[0])(query)

    refuse_independent(losses, params, "the loss of the query", chosen(params, wrt))
