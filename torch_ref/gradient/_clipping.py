"""The norm of a tree, and clipping, in plain tensor operations that can be differentiated."""

from typing import Any

import torch
from torch.utils import _pytree as pytree


def global_norm(tree: Any) -> torch.Tensor:
    """Return the norm of the norms of the leaves."""
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(leaf) for leaf in pytree.tree_leaves(tree)]))


def clip_by_value(tree: Any, limit: Any) -> Any:
    """Clamp every leaf."""
    return pytree.tree_map(lambda leaf: torch.clamp(leaf, -limit, limit), tree)


def clip_by_global_norm(tree: Any, max_norm: Any) -> tuple[Any, torch.Tensor]:
    """Scale by ``min(1, max_norm / (norm + 1e-6))``, out of place."""
    norm = global_norm(tree)
    factor = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
    return pytree.tree_map(lambda leaf: leaf * factor, tree), norm
