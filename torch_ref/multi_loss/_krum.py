"""The rows that lie closest to the others, pair by pair."""

from typing import Any

import torch


def krum(gram: Any, *, num_byzantine: int, num_selected: int = 1) -> Any:
    """Add up the squares of the smallest distances, and take the rows with the smallest sums."""
    count, scores = len(gram), []
    for k in range(count):
        squares = sorted(float(gram[k, k] + gram[j, j] - 2 * gram[k, j]) for j in range(count) if j != k)
        scores.append((sum(squares[: count - num_byzantine - 2]), k))
    weights = torch.zeros(count, dtype=gram.dtype)
    for _, k in sorted(scores)[:num_selected]:
        weights[k] = 1 / num_selected
    return weights
