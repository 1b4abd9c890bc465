"""Inner products of per-example gradients, pair by pair."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.per_example._gradients import examples, value_and_grad


def flat_gradients(loss_fn: Any, params: Any, batch: Any) -> list[torch.Tensor]:
    """Return each gradient as one vector."""
    gradients = [value_and_grad(loss_fn, params, example)[1] for example in examples(batch)]
    return [torch.cat([leaf.reshape(-1) for leaf in pytree.tree_leaves(g)]) for g in gradients]


def gram(loss_fn: Any, params: Any, *batch: Any, other: Any = None) -> torch.Tensor:
    """Multiply every pair of flat gradients."""
    first = flat_gradients(loss_fn, params, batch)
    second = first if other is None else flat_gradients(loss_fn, params, other)
    return torch.stack([torch.stack([a @ b for b in second]) for a in first])
