"""One backward pass a channel, and one more for each of its slopes."""

from typing import Any

import torch


def coordinate_derivatives(
    field_fn: Any, params: Any, points: torch.Tensor, *, second: str | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """Sum each channel over the points, whose derivatives do not mix, and differentiate it by the points."""
    points = points.detach().requires_grad_()
    values = field_fn(params, points)
    rows = [_slopes(values[..., c], points) for c in range(values.shape[-1])]
    jacobian = torch.stack(rows, dim=-2)
    if second is None:
        return values, jacobian, None, None
    size = points.shape[-1]
    hessians = [torch.stack([_slopes(row[..., j], points) for j in range(size)], dim=-2) for row in rows]
    hessian = torch.stack(hessians, dim=-3)
    if second == "hessian":
        return values, jacobian, None, hessian
    return values, jacobian, torch.diagonal(hessian, dim1=-2, dim2=-1).sum(-1), None


def _slopes(number: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Differentiate one number a point; what does not depend on the points has slope 0."""
    if not number.requires_grad:
        return torch.zeros_like(points)
    return torch.autograd.grad(number.sum(), points, create_graph=True, materialize_grads=True)[0]
