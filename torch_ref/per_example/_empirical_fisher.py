"""The empirical Fisher matrix, one outer product at a time."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.per_example._gradients import examples, value_and_grad


def empirical_fisher(loss_fn: Any, params: Any, *batch: Any) -> torch.Tensor:
    """Average the outer products of the flat gradients."""
    flat = []
    for example in examples(batch):
        _, gradient = value_and_grad(loss_fn, params, example)
        flat.append(torch.cat([leaf.reshape(-1) for leaf in pytree.tree_leaves(gradient)]))
    return sum(torch.outer(g, g) for g in flat) / len(flat)


def empirical_fisher_product(loss_fn: Any, params: Any, vector: Any, *batch: Any) -> Any:
    """Multiply the dense matrix by the flat vector, and cut the product into leaves."""
    leaves, structure = pytree.tree_flatten(vector)
    product = empirical_fisher(loss_fn, params, *batch) @ torch.cat([leaf.reshape(-1) for leaf in leaves])
    parts = product.split([leaf.numel() for leaf in leaves])
    return pytree.tree_unflatten(
        [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)], structure
    )
