"""The best worst slope in a ball, by bisection of the slope."""

import itertools
from typing import Any

import torch


def cagrad(gram: Any, *, radius: float) -> Any:
    """Raise the slope that all rows must have until the nearest such vector leaves the ball around the mean."""
    mean = torch.full((len(gram),), 1 / len(gram), dtype=gram.dtype)
    square = radius**2 * mean @ gram @ mean
    low = high = (gram @ mean).min()
    width = gram.diagonal().max()
    for _ in range(200):
        width = 2 * width
        added = nearest_with_slopes(gram, mean, high + width)
        if added is None or added @ gram @ added > square:
            break
    high = high + width
    for _ in range(120):
        middle = (low + high) / 2
        added = nearest_with_slopes(gram, mean, middle)
        if added is None or added @ gram @ added > square:
            high = middle
        else:
            low = middle
    return mean + nearest_with_slopes(gram, mean, low)


def nearest_with_slopes(gram: Any, mean: Any, slope: Any) -> Any:
    """Return the rows' weights of what is added to the mean for all slopes to reach one; ``None`` where none does."""
    missing, best, least = slope - gram @ mean, None, float("inf")
    size = gram.diagonal().max()
    for number in range(len(gram) + 1):
        for chosen in itertools.combinations(range(len(gram)), number):
            rows, added = list(chosen), torch.zeros(len(gram), dtype=gram.dtype)
            if rows:
                added[rows] = torch.linalg.pinv(gram[rows][:, rows], hermitian=True) @ missing[rows]
            value = added @ gram @ added
            reached = (gram @ added - missing).min() >= -1e-13 * (size + abs(slope))
            if reached and added.min() >= -1e-12 * added.abs().max() and value < least:
                best, least = added, value
    return best
