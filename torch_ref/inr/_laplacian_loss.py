"""Mean squared error of the Laplacian."""

from typing import Any

import torch

from torch_ref.inr._coordinate_derivatives import coordinate_derivatives


def laplacian_loss(field_fn: Any, params: Any, points: torch.Tensor, laplacians: torch.Tensor) -> torch.Tensor:
    """Average the squares over points and channels; the graph is kept for a gradient by ``params``."""
    _, _, found, _ = coordinate_derivatives(field_fn, params, points, second="laplacian")
    return ((laplacians - found) ** 2).mean()
