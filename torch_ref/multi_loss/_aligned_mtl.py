"""Aligned principal components, by the singular values of rows that have the matrix."""

from typing import Any

import torch

from torch_ref.multi_loss._config import rows_of


def aligned_mtl(gram: Any, *, preferences: Any = None, scale_mode: str = "min") -> Any:
    """``J = U S V``: the aligned rows are ``s U V``; solve for the weights of the rows that give their mean."""
    count = len(gram)
    preferences = torch.full((count,), 1 / count, dtype=gram.dtype) if preferences is None else preferences
    left, values, right = torch.linalg.svd(rows_of(gram), full_matrices=False)
    rank = int((values > 1e-7 * values.max()).sum())
    if rank == 0:
        return preferences
    left, values, right = left[:, :rank], values[:rank], right[:rank]
    squares = values**2
    scale = {"min": squares.min(), "median": squares.median(), "rmse": squares.mean()}[scale_mode].sqrt()
    vector = scale * preferences @ left @ right
    return torch.linalg.pinv(rows_of(gram).T, rtol=1e-7) @ vector
