"""A weighted sum of the gradients of several losses, summed up row by row."""

from typing import Any

from torch.utils import _pytree as pytree

from torch_ref.multi_loss._gradients import gradients, in_order


def weighted_gradient(losses_fn: Any, params: Any, *data: Any, weights: Any) -> Any:
    """Take every gradient, and add up; weights lie in the order of the losses, or are a dictionary like them."""
    rows = gradients(losses_fn, params, *data)
    return pytree.tree_map(lambda leaf: sum(w * row for w, row in zip(in_order(weights), leaf, strict=True)), rows)
