"""The losses that go by a name, one position at a time."""

import itertools
from typing import Any

import torch


def at_position(name: str, output: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return the loss at one position; the label of a cross-entropy is a class number or a distribution."""
    if name == "squared_error":
        return 0.5 * ((output - label) ** 2).sum()
    if name == "softmax_cross_entropy":
        logs = output - torch.logsumexp(output, 0)
        return -logs[label] if label.ndim == 0 else -(label * logs).sum()
    return (torch.log(1 + torch.exp(output)) - label * output).sum()


def positions(outputs: torch.Tensor) -> list[tuple[int, ...]]:
    """List the indices of all positions."""
    return list(itertools.product(*(range(size) for size in outputs.shape[:-1])))


def weight_at(outputs: torch.Tensor, weights: Any, index: tuple[int, ...]) -> Any:
    """Return the weight of a position: a mean over all, or its part of what its example weighs."""
    if weights is None:
        return 1 / len(positions(outputs))
    rest = outputs.shape[weights.ndim : -1]
    return weights[index[: weights.ndim]] / max(1, torch.Size(rest).numel())


def mass(name: str, outputs: torch.Tensor, labels: Any, index: tuple[int, ...]) -> Any:
    """Return how often a position counts: what its distribution adds up to, or once."""
    return labels[index].sum() if name == "softmax_cross_entropy" and labels.shape == outputs.shape else 1


def value(name: Any, outputs: Any, *targets: Any) -> torch.Tensor:
    """Return the whole loss: by name, or that of a function."""
    if callable(name):
        return name(outputs, *targets)
    labels, weights = targets if len(targets) == 2 else (*targets, None)
    return sum(
        weight_at(outputs, weights, index) * at_position(name, outputs[index], labels[index])
        for index in positions(outputs)
    )
