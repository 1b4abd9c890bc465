"""Products over a data set, one example at a time."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.curvature._trees import plus, zeros


def over_dataset(product: Any, params: Any, vector: Any, batches: Any, weights: torch.Tensor) -> Any:
    """Add up the products of single examples by their weights, and divide by the sum of the weights."""
    total, count = zeros(params), 0.0
    for b, i in torch.cartesian_prod(torch.arange(weights.shape[0]), torch.arange(weights.shape[1])).tolist():
        example = [pytree.tree_map(lambda leaf: leaf[b, i : i + 1], tree) for tree in batches]  # noqa: B023
        total = plus(total, product(params, vector, *example, weights[b, i : i + 1]))
        count = count + weights[b, i]
    return pytree.tree_map(lambda leaf: leaf / count, total)
