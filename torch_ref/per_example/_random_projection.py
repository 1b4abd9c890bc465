"""Projections of flat gradients."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.per_example._gram import flat_gradients


def random_projection(loss_fn: Any, params: Any, *batch: Any, directions: Any) -> torch.Tensor:
    """Multiply every flat gradient by every given direction, a tree like ``params``."""
    flat = [torch.cat([leaf.reshape(-1) for leaf in pytree.tree_leaves(d)]) for d in directions]
    rows = flat_gradients(loss_fn, params, batch)
    return torch.stack([torch.stack([row @ d for d in flat]) for row in rows]) / len(flat) ** 0.5
