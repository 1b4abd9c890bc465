"""The norm of every example's gradient, by a loop."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.per_example._gradients import examples, value_and_grad


def global_norm(tree: Any) -> torch.Tensor:
    """Return the norm of all leaves together."""
    return torch.cat([leaf.reshape(-1) for leaf in pytree.tree_leaves(tree)]).norm()


def norms(loss_fn: Any, params: Any, *batch: Any) -> torch.Tensor:
    """Return the norm of each gradient in turn."""
    return torch.stack([global_norm(value_and_grad(loss_fn, params, e)[1]) for e in examples(batch)])
