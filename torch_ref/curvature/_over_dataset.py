"""Products over a data set, one example at a time."""

from collections.abc import Iterable
from typing import Any

import torch
from torch.utils import _pytree as pytree


def over_dataset(product: Any, params: Any, vector: Any, batches: Any, weights: torch.Tensor) -> Any:
    """Add up the products of single examples by their weights, and divide by the sum of the weights."""
    total, count = _zeros(params), 0.0
    for b, i in torch.cartesian_prod(torch.arange(weights.shape[0]), torch.arange(weights.shape[1])).tolist():
        example = [pytree.tree_map(lambda leaf: leaf[b, i : i + 1], tree) for tree in batches]  # noqa: B023
        total = _plus(total, product(params, vector, *example, weights[b, i : i + 1]))
        count = count + weights[b, i]
    return pytree.tree_map(lambda leaf: leaf / count, total)


def over_batches(product: Any, params: Any, vector: Any, batches: Iterable[Any]) -> Any:
    """Add up the products of single examples, and divide by their number."""
    total, count = _zeros(params), 0
    for batch in batches:
        for i in range(len(pytree.tree_leaves(batch)[0])):
            example = [pytree.tree_map(lambda leaf: leaf[i : i + 1], tree) for tree in batch]  # noqa: B023
            total = _plus(total, product(params, vector, *example, torch.ones(1)))
            count += 1
    return pytree.tree_map(lambda leaf: leaf / count, total)


def weighted_loss(loss_fn: Any) -> Any:
    """Return the loop over examples."""

    def loss(params: Any, *given: Any) -> torch.Tensor:
        *batch, weights = given
        examples = [[pytree.tree_map(lambda leaf: leaf[i], tree) for tree in batch] for i in range(len(weights))]  # noqa: B023
        return sum(weight * loss_fn(params, *example) for weight, example in zip(weights, examples, strict=True))

    return loss


def _zeros(tree: Any) -> Any:
    """Return zeros like a tree."""
    return pytree.tree_map(torch.zeros_like, tree)


def _plus(tree: Any, other: Any) -> Any:
    """Add two trees."""
    leaves, structure = pytree.tree_flatten(tree)
    others = structure.flatten_up_to(other)
    return pytree.tree_unflatten([a + b for a, b in zip(leaves, others, strict=True)], structure)
