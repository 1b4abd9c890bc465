"""A few optimizer steps on one task, with explicit fast weights."""

from typing import Any, NamedTuple

import torch
from torch.utils import _pytree as pytree


class Adapted(NamedTuple):
    """What the steps leave behind; the lists have one entry for each step."""

    params: Any
    opt_state: Any
    losses: list[torch.Tensor]
    state: Any
    aux: list[Any]
    trail: list[tuple[Any, Any]]
    """Fast weights and the model's state after each step."""


def call(loss_fn: Any, params: Any, data: Any) -> torch.Tensor:
    """Hand the items of a plain tuple to the loss, or anything else as one argument."""
    return loss_fn(params, *data) if type(data) is tuple else loss_fn(params, data)


def evaluate(loss_fn: Any, params: Any, data: Any, state: Any, train: bool, has_aux: bool) -> tuple[Any, Any, Any]:
    """Return the value, the model's new state and the aux of a loss of any of the four kinds."""
    items = data if type(data) is tuple else (data,)
    out = loss_fn(params, *items) if state is None else loss_fn(params, state, *items, train=train)
    if state is None:
        return (out[0], None, out[1]) if has_aux else (out, None, None)
    value, beside = out
    return (value, *beside) if has_aux else (value, beside, None)


def task_of(data: Any, t: int) -> Any:
    """Take one task, or the data of one step."""
    return pytree.tree_map(lambda leaf: leaf[t], data)


def adapt(loss_fn: Any, params: Any, support: Any, *, optimizer: Any, num_steps: int, **options: Any) -> Any:
    """Step, keeping the graph: the result depends on ``params`` through every step."""
    return steps(loss_fn, params, support, optimizer=optimizer, num_steps=num_steps, **options).params


def steps(
    loss_fn: Any,
    params: Any,
    support: Any,
    *,
    optimizer: Any,
    num_steps: int,
    has_aux: bool = False,
    wrt: Any = None,
    per_step: bool = False,
    learning_rates: Any = None,
    second_order: Any = 1.0,
    opt_state: Any = None,
    state: Any = None,
    statistics: str = "frozen",
) -> Adapted:
    """Step, and keep everything; ``wrt`` lists which leaves move, in tree order."""
    leaves, structure = pytree.tree_flatten(params)
    leaves = [leaf if leaf.requires_grad else leaf.detach().requires_grad_() for leaf in leaves]
    moves = [True] * len(leaves) if wrt is None else wrt
    rates = [1.0] * len(leaves) if learning_rates is None else pytree.tree_leaves(learning_rates)
    if opt_state is None:
        opt_state = optimizer.init([leaf for leaf, move in zip(leaves, moves, strict=True) if move])
    losses, beside, trail = [], [], []
    for k in range(num_steps):
        data = task_of(support, k) if per_step else support
        now = pytree.tree_unflatten(leaves, structure)
        loss, later, aux = evaluate(loss_fn, now, data, state, statistics != "frozen", has_aux)
        active = [leaf for leaf, move in zip(leaves, moves, strict=True) if move]
        exact = torch.autograd.grad(loss, active, create_graph=True, materialize_grads=True)
        gradients = [second_order * g + (1 - second_order) * g.detach() for g in exact]
        updates, opt_state = optimizer.update(gradients, opt_state)
        source = iter(updates)
        leaves = [
            leaf + _of_step(rate, leaf, k, num_steps) * next(source) if move else leaf
            for leaf, rate, move in zip(leaves, rates, moves, strict=True)
        ]
        state = later if statistics == "carried" else state
        losses.append(loss)
        beside.append(aux)
        trail.append((pytree.tree_unflatten(leaves, structure), state))
    return Adapted(pytree.tree_unflatten(leaves, structure), opt_state, losses, state, beside, trail)


def _of_step(rate: Any, leaf: torch.Tensor, k: int, num_steps: int) -> torch.Tensor:
    """Return the factor of one step: every factor is written out for all steps and entries."""
    return torch.as_tensor(rate, dtype=leaf.dtype).broadcast_to((num_steps, *leaf.shape))[k]
