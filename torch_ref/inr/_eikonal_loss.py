"""Mean squared distance of the slope from one."""

from typing import Any

import torch

from torch_ref.inr._coordinate_derivatives import coordinate_derivatives


def eikonal_loss(field_fn: Any, params: Any, points: torch.Tensor) -> torch.Tensor:
    """Take torch's norm, whose derivative at 0 is 0."""
    slopes = coordinate_derivatives(field_fn, params, points)[1]
    return ((torch.linalg.vector_norm(slopes, dim=-1) - 1) ** 2).mean()
