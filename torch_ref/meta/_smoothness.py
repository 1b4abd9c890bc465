"""Whether the derivative by the weights of the examples can be trusted, from three trainings."""

from typing import Any, NamedTuple

import torch
from torch.utils import _pytree as pytree

from torch_ref.meta._data_weights import data_weights_gradient, judged, trained


class Smoothness(NamedTuple):
    """What `smoothness` returns."""

    smoothness: torch.Tensor
    predicted: torch.Tensor
    actual: torch.Tensor
    trusted: bool


def smoothness(
    loss_fn: Any,
    params: Any,
    examples: Any,
    indices: Any,
    validation: Any,
    *,
    optimizer: Any,
    validation_loss: Any = None,
    weights: Any = None,
    direction: Any = None,
    step: float = 0.1,
) -> Smoothness:
    """Add up the movements of all parameters, one number after the other."""
    count = len(pytree.tree_leaves(examples)[0])
    weights = torch.ones(count, dtype=torch.float64) if weights is None else weights.detach()
    options = {"optimizer": optimizer, "validation_loss": validation_loss, "weights": weights}
    slope = data_weights_gradient(loss_fn, params, examples, indices, validation, **options)
    direction = -slope / slope.abs().max() if direction is None else direction
    ends = [trained(loss_fn, params, examples, indices, weights + k * step * direction, optimizer) for k in range(3)]
    values = [judged(loss_fn, end, validation, validation_loss).item() for end in ends]
    flat = [torch.cat([leaf.detach().reshape(-1) for leaf in pytree.tree_leaves(end)]).tolist() for end in ends]
    agreeing, total = 0.0, 0.0
    for start, middle, end in zip(*flat, strict=True):
        first, second = middle - start, end - middle
        sign = ((first > 0) - (first < 0)) * ((second > 0) - (second < 0))
        agreeing, total = agreeing + sign * abs(first), total + abs(first)
    share = agreeing / total
    predicted, actual = step * (slope @ direction).item(), values[1] - values[0]
    near = abs(predicted - actual) <= 0.5 * max(abs(predicted), abs(actual))
    share, predicted, actual = torch.tensor((share, predicted, actual), dtype=torch.float64)
    return Smoothness(share, predicted, actual, near and share.item() >= 0.5)
