"""Optimizers as pairs of pure functions on lists of tensors, so that their steps can be differentiated."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch


class Optimizer(NamedTuple):
    """What an inner loop needs of an optimizer."""

    init: Callable[[list[torch.Tensor]], Any]
    """Returns the state before the first step."""
    update: Callable[[list[torch.Tensor], Any], tuple[list[torch.Tensor], Any]]
    """Takes gradients and state; returns what to add to the parameters, and the new state."""


def sgd(learning_rate: Any, momentum: float = 0.0) -> Optimizer:
    """Gradient descent, with heavy-ball momentum."""

    def update(gradients: list[torch.Tensor], trace: list[torch.Tensor]) -> Any:
        trace = [g + momentum * t for g, t in zip(gradients, trace, strict=True)]
        return [-learning_rate * t for t in trace], trace

    return Optimizer(lambda leaves: [torch.zeros_like(leaf) for leaf in leaves], update)


def adam(learning_rate: Any, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Optimizer:
    """Adam with bias correction; where every gradient so far was exactly zero, its derivative is that of m / eps."""

    def init(leaves: list[torch.Tensor]) -> Any:
        return 0, [torch.zeros_like(leaf) for leaf in leaves], [torch.zeros_like(leaf) for leaf in leaves]

    def update(gradients: list[torch.Tensor], state: Any) -> Any:
        count, first, second = state
        count = count + 1
        first = [b1 * m + (1 - b1) * g for m, g in zip(first, gradients, strict=True)]
        second = [b2 * v + (1 - b2) * g * g for v, g in zip(second, gradients, strict=True)]
        updates = []
        for m, v in zip(first, second, strict=True):
            corrected = v / (1 - b2**count)
            root = torch.where(corrected == 0, 0.0, torch.where(corrected == 0, 1.0, corrected).sqrt())
            updates.append(-learning_rate * (m / (1 - b1**count)) / (root + eps))
        return updates, (count, first, second)

    return Optimizer(init, update)
