"""The gradient of LookSAM on long vectors; the state is a pair of the count and the kept part."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.shift._gradient import gradient
from torch_ref.shift._sam_gradient import sam_gradient
from torch_ref.shift._vectors import as_tree, as_vector


def looksam_init(params: Any) -> Any:
    """Count no step, and keep zeros."""
    return 0, pytree.tree_map(torch.zeros_like, params)


def looksam_gradient(
    loss_fn: Any, params: Any, state: Any, *data: Any, radius: float, every: int = 5, alpha: float = 0.7
) -> Any:
    """Take SAM's gradient and split it at every k-th step; add what was split off at the others."""
    step, across = state
    plain = as_vector(gradient(loss_fn, params, None, *data))
    if step % every == 0:
        found = as_vector(sam_gradient(loss_fn, params, *data, radius=radius))
        projection = torch.outer(plain, plain) / (plain @ plain)
        across = as_tree(found - projection @ found, params)
    else:
        kept = as_vector(across)
        found = plain + alpha * plain.norm() * kept / kept.norm() if kept.norm() > 0 else plain
    return as_tree(found, params), (step + 1, across)
