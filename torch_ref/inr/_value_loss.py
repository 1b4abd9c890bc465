"""Mean squared error of the values."""

from typing import Any

import torch


def value_loss(field_fn: Any, params: Any, points: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Average the squares over points and channels."""
    return ((values - field_fn(params, points)) ** 2).mean()
