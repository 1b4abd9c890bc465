"""One backward pass a channel."""

from typing import Any

import torch


def coordinate_derivatives(field_fn: Any, params: Any, points: torch.Tensor) -> torch.Tensor:
    """Sum each channel over the points, whose derivatives do not mix, and differentiate it by the points."""
    points = points.detach().requires_grad_()
    values = field_fn(params, points)
    rows = [
        torch.autograd.grad(values[..., c].sum(), points, create_graph=True, materialize_grads=True)[0]
        for c in range(values.shape[-1])
    ]
    return torch.stack(rows, dim=-2)
