"""The gradient from pairs of values at opposite shifts, pair by pair."""

from typing import Any

from torch.utils import _pytree as pytree

from torch_ref.shift._expected_gradient import row, summary
from torch_ref.shift._gradient import moved
from torch_ref.shift._score_function_gradient import scores


def evolution_gradient(
    loss_fn: Any, params: Any, shifts: Any, *data: Any, scale: float, full_output: bool = False
) -> Any:
    """Take the loss on both sides of the weights, and weigh the shift by the difference."""
    terms, values = [], []
    for k in range(len(pytree.tree_leaves(shifts)[0])):
        move = row(shifts, k)
        back = pytree.tree_map(lambda leaf: None if leaf is None else -leaf, move)
        up, down = (loss_fn(moved(params, one), *data).detach() for one in (move, back))
        terms.append(scores(params, move, (up - down) / (2 * scale**2)))
        values.append((up + down) / 2)
    estimate = summary(terms, values)
    return estimate if full_output else estimate.gradient
