"""Inner products of the gradients of several losses, from the whole Jacobian."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.multi_loss._gradients import gradients


def matrix(rows: Any) -> torch.Tensor:
    """Return rows that are given by leaf as one matrix, a row for each loss."""
    return torch.cat([leaf.reshape(len(leaf), -1) for leaf in pytree.tree_leaves(rows)], 1)


def gram(losses_fn: Any, params: Any, *data: Any) -> torch.Tensor:
    """Form the Jacobian, and multiply it by its transpose."""
    jacobian = matrix(gradients(losses_fn, params, *data))
    return jacobian @ jacobian.T
