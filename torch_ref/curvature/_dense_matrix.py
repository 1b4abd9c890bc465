"""The matrix behind a product, one column at a time."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree


def dense_matrix(product: Any, params: Any, *data: Any) -> tuple[torch.Tensor, Callable[[torch.Tensor], Any]]:
    """Multiply every unit vector; return the matrix, and the function that makes a tree of a flat vector."""
    leaves, structure = pytree.tree_flatten(params)

    def tree(flat: torch.Tensor) -> Any:
        parts = flat.split([leaf.numel() for leaf in leaves])
        return pytree.tree_unflatten(
            [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)], structure
        )

    total = sum(leaf.numel() for leaf in leaves)
    columns = [flat(product(params, tree(unit), *data), structure) for unit in torch.eye(total, dtype=leaves[0].dtype)]
    return torch.stack(columns, 1), tree


def flat(tree: Any, structure: Any) -> torch.Tensor:
    """Join the leaves of a tree, in the order of another, by key."""
    return torch.cat([leaf.reshape(-1) for leaf in structure.flatten_up_to(tree)])
