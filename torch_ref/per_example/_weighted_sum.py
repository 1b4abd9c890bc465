"""A weighted sum of per-example gradients, by a loop."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.per_example._gradients import examples, value_and_grad


def weighted_sum(loss_fn: Any, params: Any, *batch: Any, weights: Any) -> Any:
    """Add each gradient times its weight."""
    total = pytree.tree_map(torch.zeros_like, params)
    for weight, example in zip(weights, examples(batch), strict=True):
        _, gradient = value_and_grad(loss_fn, params, example)
        total = pytree.tree_map(lambda t, g, w=weight: t + w * g, total, gradient)
    return total
