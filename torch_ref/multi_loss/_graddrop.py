"""A sign for each coordinate, one coordinate after another."""

from typing import Any

import torch
from torch.utils import _pytree as pytree


def graddrop(rows: Any, *, draws: Any, purity_fn: Any = None, leak: Any = None) -> Any:
    """Take uniform numbers that were drawn elsewhere, a tree like one row."""

    def combined(leaf: Any, uniform: Any) -> Any:
        flat, numbers = leaf.reshape(len(leaf), -1), uniform.reshape(-1)
        result = torch.zeros_like(numbers)
        for i in range(len(numbers)):
            total = flat[:, i].abs().sum()
            purity = 0.5 * (1 + flat[:, i].sum() / total) if total > 0 else torch.tensor(0.5, dtype=leaf.dtype)
            positive = (purity_fn(purity) if purity_fn else purity) > numbers[i]
            for k in range(len(flat)):
                part = 1.0 if (flat[k, i] > 0) == positive else (float(leak[k]) if leak is not None else 0.0)
                result[i] += part * flat[k, i]
        return result.reshape(uniform.shape)

    return pytree.tree_map(combined, rows, draws)
