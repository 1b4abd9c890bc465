"""The inner loop: a few optimizer steps on one task, written as one scan."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import optax
from jax import lax

from jaxgrad import _check, _jaxpr, _sharding, _tree
from jaxgrad._types import Array, AxisName, LossFn, Params, Tree, Wrt
from jaxgrad.meta._engine._guard import guarded
from jaxgrad.meta._engine._singular import undefined_where_not_finite

__all__ = ["arguments", "check_tasks", "descend", "of_one_task", "value_and_grad"]


def arguments(data: Tree) -> tuple[Any, ...]:
    """Return what follows ``params`` in a call of the loss: the items of a plain tuple, or ``data`` itself."""
    return data if type(data) is tuple else (data,)


def _refuse_list(loss_fn: Callable[..., Any], params: Params, task: tuple[Any, ...]) -> None:
    """Refuse a list whose items are meant to be the arguments of the loss.

    Raises:
        TypeError: If the loss takes the items, and does not take the list.
    """
    if [type(item) for item in task] != [list] or _binds(loss_fn, params, *task):
        return
    if _binds(loss_fn, params, *task[0]):
        message = (
            "support and query must be tuples, (x, y), for their items to be the arguments of loss_fn: a list is handed"
            " on as ONE argument, like any other pytree"
        )
        raise TypeError(message)


def _binds(fun: Callable[..., Any], *args: Any) -> bool:
    """Say whether a function can be called with so many arguments; yes where it does not tell."""
    try:
        inspect.signature(fun).bind(*args)
    except TypeError:
        return False
    except ValueError:  # some functions written in C have no signature
        return True
    return True


def descend(
    loss_fn: LossFn,
    params: Params,
    support: Tree,
    *,
    optimizer: Any,
    num_steps: int,
    wrt: Wrt = None,
    axis_name: AxisName = None,
    has_aux: bool = False,
) -> tuple[Params, Tree]:
    """Return ``params`` after some optimizer steps on the support loss, and the aux of each; traced once.

    The aux lies along a leading axis of steps; it is ``None`` where the loss has none. The result is differentiable: a
    step is recomputed then, so memory grows with the weights of a step and not with the intermediate values of its
    loss.
    """
    _refuse_list(loss_fn, params, arguments(support))
    steps = _check.count(num_steps, "num_steps", advice="0 leaves the parameters as they are")
    rule, data = optax.with_extra_args_support(_check.optimizer(optimizer)), arguments(support)
    whole = _check.scalar_loss(loss_fn, has_aux=has_aux)
    subset = _tree.restrict(whole, params, wrt, data, axis_name, has_aux)
    _check.differentiable(params=subset.active)

    def loss(active: Params) -> Any:
        return subset.fun(active, *data)

    def pair(active: Params) -> Any:
        return subset.pair(active, *data)

    def move(gradient: Params, value: Any, active: Params, state: Any) -> Any:
        updates, state = rule.update(gradient, state, active, value=value, grad=gradient, value_fn=loss)
        return optax.apply_updates(active, jax.tree.map(undefined_where_not_finite, updates)), state

    def step(carry: Any, _: None) -> Any:
        active, state = carry
        (value, aux), gradient = _traced_once(jax.value_and_grad(pair, has_aux=True), active)
        return guarded(move, gradient, value, active, state), aux

    start = _sharding.settled(lambda carry: step(carry, None)[0], (subset.active, guarded(rule.init, subset.active)))
    (active, _), aux = lax.scan(jax.checkpoint(step, prevent_cse=False), start, length=steps)
    return subset.embed(active, lambda leaf: leaf), aux


def _traced_once(fun: Callable[[Params], Any], active: Params) -> Any:
    """Return ``fun(active)`` by way of its program, after a look at that.

    Raises:
        NotImplementedError: If it writes to a mutable array, which a step that is recomputed cannot.
    """
    program, shapes = jax.make_jaxpr(fun, return_shape=True)(active)
    _jaxpr.refuse_refs(program.jaxpr, "loss_fn")
    results = jax.core.eval_jaxpr(program.jaxpr, program.consts, *jax.tree.leaves(active))
    return jax.tree.unflatten(jax.tree.structure(shapes), results)


def of_one_task(loss_fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return the loss of one task, with what it was given told in its errors."""

    def called(params: Params, *task: Any) -> Any:
        _refuse_list(loss_fn, params, task)
        try:
            return loss_fn(params, *task)
        except Exception as error:
            leaves = jtu.tree_leaves_with_path(task)
            shown = ", ".join(f"{_check.locate('task', path)}: {_check.describe(leaf)}" for path, leaf in leaves)
            if isinstance(error, IndexError | TypeError | ValueError) and any(
                jnp.shape(leaf) == () for _, leaf in leaves
            ):
                message = (
                    "support and query look like one batch each, without an axis of tasks: the leading axis of every"
                    f" leaf counts tasks, and loss_fn, which is given ONE task, fails on {shown}; write x[None] for"
                    " the only task"
                )
                raise ValueError(message) from error
            error.add_note(f"The loss takes ONE task, without the leading axis of tasks; it was given {shown}.")
            raise

    return called


def check_tasks(support: Tree, query: Tree) -> None:
    """Refuse tasks that do not lie along one leading axis, and an empty set of them.

    Raises:
        ValueError: If a leaf has no leading axis, the lengths differ, or there is no task.
    """
    if _check.same_leading(support=support, query=query) == 0:
        message = "there are no tasks: the leading axis of support and query has length 0"
        raise ValueError(message)


def value_and_grad(pair: Callable[[Params], Any], params: Params) -> tuple[tuple[Array, Tree], Params]:
    """Return the value and the gradient of what follows inner steps; beside the value stands the second of the pair.

    Raises:
        ValueError: If the steps hold a loop of unknown length, which has no derivative in reverse.
    """
    try:
        return jax.value_and_grad(pair, has_aux=True)(params)
    except ValueError as error:
        if "everse-mode differentiation does not work" not in str(error):
            raise
        message = (
            "optimizer cannot be differentiated in reverse: a step, or the loss, holds a while loop of unknown length,"
            " such as a line search; write optax.lbfgs(learning_rate, linesearch=None) or another optimizer without"
            " one, a loop of fixed length in the loss, or take meta.first_order_gradient"
        )
        raise ValueError(message) from error
