"""Mean squared error of the coordinate derivatives."""

from typing import Any

import torch

from torch_ref.inr._coordinate_derivatives import coordinate_derivatives


def gradient_loss(field_fn: Any, params: Any, points: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Average the squares over points, channels and coordinates; the graph is kept for a gradient by ``params``."""
    return ((gradients - coordinate_derivatives(field_fn, params, points)[1]) ** 2).mean()
