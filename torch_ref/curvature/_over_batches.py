"""Products over the batches of an iterator, one example at a time."""

from collections.abc import Iterable
from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.curvature._trees import plus, zeros


def over_batches(product: Any, params: Any, vector: Any, batches: Iterable[Any]) -> Any:
    """Add up the products of single examples, and divide by their number."""
    total, count = zeros(params), 0
    for batch in batches:
        for i in range(len(pytree.tree_leaves(batch)[0])):
            example = [pytree.tree_map(lambda leaf: leaf[i : i + 1], tree) for tree in batch]  # noqa: B023
            total = plus(total, product(params, vector, *example, torch.ones(1)))
            count += 1
    return pytree.tree_map(lambda leaf: leaf / count, total)
