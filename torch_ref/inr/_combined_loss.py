"""A weighted sum of losses, each by itself."""

from typing import Any

import torch

from torch_ref.inr._gradient_loss import gradient_loss
from torch_ref.inr._laplacian_loss import laplacian_loss
from torch_ref.inr._value_loss import value_loss


def combined_loss(
    field_fn: Any,
    params: Any,
    points: torch.Tensor,
    *,
    values: torch.Tensor | None = None,
    gradients: torch.Tensor | None = None,
    laplacians: torch.Tensor | None = None,
    value_weight: float = 1.0,
    gradient_weight: float = 1.0,
    laplacian_weight: float = 1.0,
) -> torch.Tensor:
    """Evaluate the field anew for each loss that has a target."""
    total = points.new_zeros(())
    if values is not None:
        total = total + value_weight * value_loss(field_fn, params, points, values)
    if gradients is not None:
        total = total + gradient_weight * gradient_loss(field_fn, params, points, gradients)
    if laplacians is not None:
        total = total + laplacian_weight * laplacian_loss(field_fn, params, points, laplacians)
    return total
