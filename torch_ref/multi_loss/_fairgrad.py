"""The equation of alpha-fairness, one weight at a time."""

from typing import Any

import torch


def fairgrad(gram: Any, *, alpha: float = 1.0, unit: float = 1.0, rounds: int = 3000) -> Any:
    """Solve each row's equation for its own weight, by bisection, the others held; round after round."""
    gram = gram * unit**2
    rows = [k for k in range(len(gram)) if gram[k, k] > 0]
    solved, matrix = [1.0] * len(rows), gram[rows][:, rows].tolist()
    for _ in range(rounds):
        before = list(solved)
        for k, row in enumerate(matrix):
            others = sum(entry * weight for j, (entry, weight) in enumerate(zip(row, solved, strict=True)) if j != k)
            solved[k] = _root(row[k], others, alpha, solved[k])
        if all(abs(a - b) <= 1e-15 * a for a, b in zip(solved, before, strict=True)):
            break
    weights = torch.zeros(len(gram), dtype=gram.dtype)
    weights[rows] = torch.tensor(solved, dtype=gram.dtype)
    return weights


def _root(square: float, others: float, alpha: float, guess: float) -> float:
    """Solve ``square w + others = w^(-1/alpha)``: the left side rises with w, and the right one falls."""
    low = high = guess
    while square * low + others > low ** (-1 / alpha):
        low /= 2
    while square * high + others < high ** (-1 / alpha):
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if square * middle + others < middle ** (-1 / alpha) else (low, middle)
    return (low + high) / 2
