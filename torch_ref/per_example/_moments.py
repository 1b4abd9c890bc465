"""Mean, second moment and variance of stacked gradients."""

from typing import Any

from torch.utils import _pytree as pytree

from torch_ref.per_example._gradients import gradients


def moments(loss_fn: Any, params: Any, *batch: Any) -> Any:
    """Stack all gradients, and reduce over the examples."""
    rows = gradients(loss_fn, params, *batch)
    mean = pytree.tree_map(lambda g: g.mean(0), rows)
    second = pytree.tree_map(lambda g: (g**2).mean(0), rows)
    variance = pytree.tree_map(lambda g: g.var(0, correction=0), rows)
    return mean, second, variance
