"""The gradient of a loss that is smoothed by normal shifts, from its values, term by term."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.shift._expected_gradient import row, summary
from torch_ref.shift._gradient import moved


def score_function_gradient(
    loss_fn: Any,
    params: Any,
    shifts: Any,
    *data: Any,
    scale: float,
    baseline: str = "leave-one-out",
    full_output: bool = False,
) -> Any:
    """Weigh the score of the normal density at every shift by the loss there, less its baseline."""
    moves = [row(shifts, k) for k in range(len(pytree.tree_leaves(shifts)[0]))]
    values = [loss_fn(moved(params, move), *data).detach() for move in moves]
    terms = []
    for k, move in enumerate(moves):
        below = torch.zeros_like(values[k])
        if baseline == "leave-one-out":
            below = torch.stack(values[:k] + values[k + 1 :]).mean()
        elif baseline == "clean":
            below = loss_fn(params, *data).detach()
        terms.append(scores(params, move, (values[k] - below) / scale**2))
    estimate = summary(terms, values)
    return estimate if full_output else estimate.gradient


def scores(params: Any, move: Any, factor: Any) -> Any:
    """Return a shift times a number, with zeros where there is none."""
    zeros = pytree.tree_map(torch.zeros_like, params)
    return moved(zeros, pytree.tree_map(lambda leaf: None if leaf is None else factor * leaf, move))
