"""The shortest weighted mean, by the conditions of a minimum on every face of the simplex."""

import itertools
from typing import Any

import torch


def mgda(gram: Any) -> Any:
    """On every set of rows: all products with the vector are equal, and the weights sum to 1; the best one counts."""
    count, best, least = len(gram), None, float("inf")
    size = gram.diagonal().max().clamp_min(1e-300)
    for number in range(1, count + 1):
        for chosen in itertools.combinations(range(count), number):
            rows = list(chosen)
            system = torch.ones(number + 1, number + 1, dtype=gram.dtype)
            system[:number, :number] = gram[rows][:, rows] / size
            system[number, number] = 0
            right = torch.zeros(number + 1, dtype=gram.dtype)
            right[number] = 1
            weights = torch.zeros(count, dtype=gram.dtype)
            weights[rows] = (torch.linalg.pinv(system) @ right)[:number]
            value = weights @ gram @ weights
            if weights.min() > -1e-12 and abs(weights.sum() - 1) < 1e-9 and value < least * (1 - 1e-14):
                best, least = weights, value
    return best
