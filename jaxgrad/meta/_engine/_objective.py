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

__all__ = ["STATIC", "Objective", "objective", "refuse_constant", "value_and_meta_gradient"]

STATIC = ("memory", "chunk", "per_step", "statistics", "axis_name")
"""The static options that the meta-gradients share."""


class Objective(NamedTuple):
    """The meta-loss of some tasks."""

    losses: Callable[..., tuple[Array, Tree]]
    """``losses(params, learning_rates, tasks)``: the loss, and the aux, of each of the tasks ``(support, query)``."""
    num_tasks: int


def objective(
    loss_fn: Callable[..., Any],
    params: Params,
    support: Tree,
    query: Tree,
    *,
    has_aux: bool = False,
    chunk: int | None = None,
    step_weights: Any = None,
    state: Tree = None,
    statistics: Any = "frozen",
    **inner: Any,
) -> Objective:
    """Return the meta-loss; ``inner`` are the options of `descend`.

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

    def loss_of(params: Params, learning_rates: Tree, support: Tree, query: Tree) -> tuple[Array, Tree]:
        def watch(fast: Params, now: Tree) -> Array:
            return judged(fast, now, query)[0]

        options: Any = {**inner, "learning_rates": learning_rates, "state": state, "statistics": statistics}
        after = descend(loss_fn, params, support, has_aux=has_aux, watch=None if weights is None else watch, **options)
        value, aux = judged(after.params, after.state, query)
        if weights is None:
            return value, aux
        return jnp.vdot(weights.astype(after.watched.dtype), after.watched), aux

    def losses(params: Params, learning_rates: Tree, tasks: tuple[Tree, Tree]) -> tuple[Array, Tree]:
        return jax.vmap(lambda task: loss_of(params, learning_rates, *task))(tasks)

    return Objective(losses, num_tasks)


def value_and_meta_gradient(
    meta: Objective,
    moving: Tree,
    tasks: tuple[Tree, Tree],
    *,
    at: Callable[[Tree], tuple[Params, Tree]],
    chunk: int | None,
    axis_name: AxisName,
) -> tuple[tuple[Array, Tree], Tree]:
    """Return ``((value, aux), gradient)`` of the mean over tasks, by ``moving``, from which ``at`` makes the arguments.

    In chunks, the gradient of one chunk is taken before the next begins: memory is that of a chunk.
    """
    kinds: list[Any] = []

    def gradient(tasks: tuple[Tree, Tree], weights: Array | None = None) -> tuple[Tree, Tree]:
        def total(moving: Tree) -> tuple[Array, Tree]:
            values, aux = meta.losses(*at(moving), tasks)
            kinds.append(values.dtype)
            if weights is None:
                return values.mean(), aux
            kept = _tree.accumulator(values.dtype)
            return jnp.vdot(values.astype(kept), weights.astype(kept)), aux

        mean = _sharding.mean_of(total, axis_name, has_aux=True)
        (value, aux), slope = value_and_grad(mean, _sharding.own(lambda moving: mean(moving)[0], moving))
        return (value, slope) if weights is None else _tree.widened((value, slope)), aux

    if chunk is None or chunk >= meta.num_tasks:
        (value, slope), aux = gradient(tasks)
        return (value, aux), slope
    (value, slope), aux = mean_over_tasks(gradient, tasks, chunk)
    slope = jax.tree.map(lambda g, leaf: g.astype(leaf.dtype), slope, moving)
    return (value.astype(kinds[0]), aux), slope


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
