"""Every row projected onto the dual cone of all, by the conditions of a minimum on every face."""

import itertools
from typing import Any

import torch


def upgrad(gram: Any, *, preferences: Any = None) -> Any:
    """Project row by row, and add up."""
    count = len(gram)
    preferences = torch.full((count,), 1 / count, dtype=gram.dtype) if preferences is None else preferences
    return sum(lowest_above(gram, row) for row in torch.diag(preferences))


def lowest_above(gram: Any, start: Any) -> Any:
    """Return the weights, none below ``start``, of the shortest vector."""
    count, best, least = len(gram), start, start @ gram @ start
    for number in range(1, count + 1):
        for chosen in itertools.combinations(range(count), number):
            rows = list(chosen)
            block = gram[rows][:, rows]
            rise = torch.zeros(count, dtype=gram.dtype)
            rise[rows] = torch.linalg.pinv(block, hermitian=True) @ -(gram @ start)[rows]
            weights = start + rise
            value = weights @ gram @ weights
            if rise.min() >= -1e-12 * rise.abs().max() and value < least * (1 - 1e-14):
                best, least = weights, value
    return best
