"""A tree as one vector, and back."""

from typing import Any

import torch
from torch.utils import _pytree as pytree


def as_vector(tree: Any) -> torch.Tensor:
    """Return all numbers of a tree, leaf after leaf."""
    return torch.cat([leaf.reshape(-1) for leaf in pytree.tree_leaves(tree)])


def as_tree(vector: torch.Tensor, like: Any) -> Any:
    """Return a vector in the structure and shapes of a tree."""
    leaves, structure = pytree.tree_flatten(like)
    pieces = vector.split([leaf.numel() for leaf in leaves])
    return pytree.tree_unflatten([p.reshape(leaf.shape) for p, leaf in zip(pieces, leaves, strict=True)], structure)
