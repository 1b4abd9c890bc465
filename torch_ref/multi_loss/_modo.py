"""One step of projected descent, projected by trying every support."""

import itertools
from typing import Any

import torch


def modo(*, learning_rate: float = 0.1, regularization: float = 0.1) -> Any:
    """Return the pair of functions."""

    def init(num_losses: int) -> Any:
        return torch.full((num_losses,), 1 / num_losses, dtype=torch.float64)

    def update(products: Any, state: Any) -> Any:
        after = projected(state - learning_rate * (products @ state + regularization * state))
        return after, after

    return init, update


def projected(point: Any) -> Any:
    """Return the nearest point of the simplex: the best of those of all its faces that lie in it."""
    best, least = None, float("inf")
    for number in range(1, len(point) + 1):
        for chosen in itertools.combinations(range(len(point)), number):
            rows, found = list(chosen), torch.zeros_like(point)
            found[rows] = point[rows] + (1 - point[rows].sum()) / number
            distance = ((found - point) ** 2).sum()
            if found.min() >= 0 and distance < least:
                best, least = found, distance
    return best
