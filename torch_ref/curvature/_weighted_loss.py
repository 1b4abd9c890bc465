"""The weighted sum over examples, as a loop."""

from typing import Any

import torch
from torch.utils import _pytree as pytree


def weighted_loss(loss_fn: Any) -> Any:
    """Return the loop over examples."""

    def loss(params: Any, *given: Any) -> torch.Tensor:
        *batch, weights = given
        examples = [[pytree.tree_map(lambda leaf: leaf[i], tree) for tree in batch] for i in range(len(weights))]  # noqa: B023
        return sum(weight * loss_fn(params, *example) for weight, example in zip(weights, examples, strict=True))

    return loss
