"""Tasks: how the loss of one is called, and means over many, all at once or in chunks."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax

from jaxgrad import _check, _leaves, _sharding, _tree
from jaxgrad._types import Array, Params, Tree

__all__ = ["arguments", "check_tasks", "mean_of_each", "mean_over_tasks", "of_one_task", "refuse_list"]


def arguments(data: Tree) -> tuple[Any, ...]:
    """Return what follows ``params`` in a call of the loss: the items of a plain tuple, or ``data`` itself."""
    return data if type(data) is tuple else (data,)


def refuse_list(
    loss_fn: Callable[..., Any], params: Params, task: tuple[Any, ...], names: str = "support and query"
) -> None:
    """Refuse a list whose items are meant to be the arguments of the loss.

    Raises:
        TypeError: If the loss takes the items, and does not take the list.
    """
    if [type(item) for item in task] != [list] or _binds(loss_fn, params, *task):
        return
    if _binds(loss_fn, params, *task[0]):
        message = (
            f"{names} must be tuples, (x, y), for their items to be the arguments of loss_fn: a list is handed on as"
            " ONE argument, like any other pytree"
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


def of_one_task(loss_fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return the loss of one task, with what it was given told in its errors."""

    def called(params: Params, *task: Any, **options: Any) -> Any:
        refuse_list(loss_fn, params, task)
        try:
            return loss_fn(params, *task, **options)
        except Exception as error:
            # with train= comes the model's state, ahead of the task
            leaves = jtu.tree_leaves_with_path(task[1:] if "train" in options else task)
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


def check_tasks(support: Tree, query: Tree = None, *, per_step: bool = False) -> int:
    """Return the number of tasks, after refusing those that do not lie along one leading axis.

    Raises:
        ValueError: If a leaf has no leading axis, the lengths differ, there is no task, or the same leaf of support and
            query has another number of axes.
    """
    try:
        num_tasks = _check.same_leading(support=support, query=query)
    except ValueError as error:
        message = (
            f"{error}\nsupport and query have the tasks along the leading axis of every leaf; tasks of unequal size are"
            f" {_leaves.PADDED}"
        )
        raise ValueError(message) from error
    if num_tasks == 0:
        message = "there are no tasks: the leading axis of support and query has length 0"
        raise ValueError(message)
    if query is not None:
        _refuse_other_axes(support, query, 1 if per_step else 0)
    return num_tasks


def _refuse_other_axes(support: Tree, query: Tree, more: int) -> None:
    """Refuse a leaf that is a batch in one and a single example in the other: loss_fn, of one task, is given both.

    Where the two have the same number of examples as there are tasks, nothing else tells that an axis is missing.

    Raises:
        ValueError: With every leaf that has other axes, ``more`` being those that support has for its steps.
    """
    found, wanted = jtu.tree_leaves_with_path(support), jax.tree.leaves(query)
    structure: Any = jax.tree.structure(support)
    if structure != jax.tree.structure(query):
        return
    lines = [
        f"{_check.locate('support', path)}: got {_check.describe(of_support)},"
        f" {_check.locate('query', path)}: got {_check.describe(of_query)}"
        for (path, of_support), of_query in zip(found, wanted, strict=True)
        if jnp.ndim(of_support) != jnp.ndim(of_query) + more
    ]
    if lines:
        steps = " but for that of the steps, which is the second of support's" if more else ""
        message = (
            f"support and query must have the same axes{steps}: one of them lacks its axis of tasks, or of examples;"
            " write x[None] for the only task, x[:, None] for tasks of one example each\n  "
        )
        raise ValueError(message + "\n  ".join(lines))


def mean_of_each(
    of_one: Callable[..., tuple[Tree, Tree]], tasks: tuple[Tree, ...], chunk: int | None
) -> tuple[Tree, Tree]:
    """Return the mean over the tasks of what ``of_one(*task)`` returns, and what it returns beside, in rows.

    Args:
        of_one: Returns a tree of floating-point arrays for one task, and any tree beside it.
        tasks: Trees whose leaves have the tasks along their leading axis.
        chunk: How many tasks at a time; ``None``: all at once.
    """
    if chunk is None or _check.count(chunk, "chunk", least=1) >= _tree.leading(tasks):
        results, aux = jax.vmap(of_one)(*tasks)
        return jax.tree.map(lambda leaf: leaf.mean(0), results), aux

    def weighted(tasks: tuple[Tree, ...], weights: Array) -> tuple[Tree, Tree]:
        results, aux = jax.vmap(of_one)(*tasks)
        sums = jax.tree.map(lambda rows: jnp.tensordot(weights.astype(rows.dtype), rows, 1), _tree.widened(results))
        return sums, aux

    mean, aux = mean_over_tasks(weighted, tasks, chunk)
    kinds = jax.eval_shape(of_one, *_tree.take(tasks, 0))[0]
    return jax.tree.map(lambda leaf, kind: leaf.astype(kind.dtype), mean, kinds), aux


def mean_over_tasks(fun: Callable[..., tuple[Tree, Tree]], tasks: Tree, chunk: int) -> tuple[Tree, Tree]:
    """Return the mean over the tasks of what ``fun`` sums, and what it returns for each, one chunk after the other.

    Args:
        fun: ``fun(tasks, weights)`` returns the sum over these tasks of something times their weights, and rows that
            have the tasks along their leading axis.
        tasks: Tree whose leaves have the tasks along their leading axis.
        chunk: How many tasks at a time, fewer than there are. The last chunk is filled up with the first task, whose
            weight there is 0.
    """
    count = _tree.leading(tasks)
    chunks = -(-count // chunk)
    order = jnp.arange(chunks * chunk)
    weights = jnp.where(order < count, 1 / count, 0.0).reshape(chunks, chunk)
    rows = jnp.where(order < count, order, 0).reshape(chunks, chunk)

    def one(total: Tree, given: tuple[Any, Any]) -> tuple[Tree, Tree]:
        rows, weights = given
        addend, aux = fun(jax.tree.map(lambda leaf: leaf[rows], tasks), weights)
        return _tree.add(total, addend), aux

    shapes = jax.eval_shape(fun, jax.tree.map(lambda leaf: leaf[:chunk], tasks), weights[0])[0]
    total, aux = lax.scan(one, jax.tree.map(_sharding.zeros, shapes), (rows, weights))
    return total, jax.tree.map(lambda leaf: leaf.reshape(chunks * chunk, *leaf.shape[2:])[:count], aux)
