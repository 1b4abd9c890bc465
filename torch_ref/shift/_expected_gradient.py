"""The mean of the gradients at several shifts, by a loop."""

from typing import Any, NamedTuple

import torch
from torch.utils import _pytree as pytree

from torch_ref.shift._gradient import value_and_grad


class Estimate(NamedTuple):
    """An estimate of the gradient of a loss that is averaged over shifts."""

    gradient: Any
    standard_error: Any
    value: Any


def expected_gradient(
    loss_fn: Any,
    params: Any,
    shifts: Any,
    *data: Any,
    antithetic: bool = False,
    per_example: bool = False,
    full_output: bool = False,
) -> Any:
    """Take the gradient at one shift after the other, and average."""
    values, rows = [], []
    for k in range(len(pytree.tree_leaves(shifts)[0])):
        own = [row(tree, k) for tree in data] if per_example else data
        moves = [row(shifts, k)]
        if antithetic:
            moves.append(pytree.tree_map(lambda leaf: None if leaf is None else -leaf, moves[0]))
        found = [value_and_grad(loss_fn, params, move, *own) for move in moves]
        values.append(sum(value for value, _ in found) / len(found))
        rows.append(pytree.tree_map(lambda *slopes: sum(slopes) / len(slopes), *[slope for _, slope in found]))
    estimate = summary(rows, values)
    return estimate if full_output else estimate.gradient


def summary(rows: list[Any], values: list[Any]) -> Estimate:
    """Return the mean of independent estimates, and its standard error."""
    stack = pytree.tree_map(lambda *terms: torch.stack(terms), *rows)
    error = pytree.tree_map(lambda terms: terms.std(0) / len(rows) ** 0.5, stack)
    return Estimate(pytree.tree_map(lambda terms: terms.mean(0), stack), error, torch.stack(values).mean())


def row(shifts: Any, k: int) -> Any:
    """Return the k-th shift; what is ``None`` stays so."""
    return pytree.tree_map(lambda leaf: None if leaf is None else leaf[k], shifts)
