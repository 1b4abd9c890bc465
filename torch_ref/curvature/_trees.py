"""Arithmetic on trees."""

from typing import Any

import torch
from torch.utils import _pytree as pytree


def zeros(tree: Any) -> Any:
    """Return zeros like a tree."""
    return pytree.tree_map(torch.zeros_like, tree)


def plus(tree: Any, other: Any) -> Any:
    """Add two trees."""
    leaves, structure = pytree.tree_flatten(tree)
    others = structure.flatten_up_to(other)
    return pytree.tree_unflatten([a + b for a, b in zip(leaves, others, strict=True)], structure)
