"""The direction at one angle to all, by the pseudo-inverse of the rows themselves."""

from typing import Any

import torch


def config(gram: Any, *, preferences: Any = None) -> Any:
    """As the paper writes it, on rows that have the matrix; then the weights of the rows that give the vector."""
    rows = rows_of(gram)
    preferences = torch.ones(len(gram), dtype=gram.dtype) if preferences is None else preferences
    lengths = rows.norm(dim=1)
    units = torch.where(lengths[:, None] > 1e-7 * lengths.max(), rows / lengths[:, None], torch.zeros_like(rows))
    direction = torch.linalg.pinv(units, rtol=1e-7) @ preferences
    direction = direction / direction.norm() if direction.norm() > 0 else direction
    return torch.linalg.pinv(rows.T, rtol=1e-7) @ ((rows @ direction).sum() * direction)


def rows_of(gram: Any) -> Any:
    """Return rows whose inner products are the matrix."""
    values, vectors = torch.linalg.eigh(gram)
    values = torch.where(values > 1e-14 * values.max(), values, torch.zeros_like(values))
    return vectors * values.sqrt()
