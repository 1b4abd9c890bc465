"""Projections one after another, on vectors of which the products are those of the matrix."""

from typing import Any

import torch


def pcgrad(gram: Any, *, orders: Any) -> Any:
    """For each row in turn, and each other in its order: take out what conflicts."""
    weights = torch.zeros(len(gram), dtype=gram.dtype)
    for k, order in enumerate(orders):
        projected = torch.eye(len(gram), dtype=gram.dtype)[k]
        for j in order:
            product = sum(gram[j, i] * projected[i] for i in range(len(gram)))
            if product < 0:
                projected[j] -= product / gram[j, j]
        weights += projected
    return weights
