"""Sums of second derivatives, from the rows of the Hessian."""

from typing import Any

import torch

from torch_ref.nth._mixed import component


def laplacian(fun: Any, x: torch.Tensor, *data: Any) -> torch.Tensor:
    """Add up the pure second partials of every output component."""
    x = x.detach().requires_grad_()
    value = fun(x, *data)
    parts = [laplacian_of(entry, x) for entry in value.reshape(-1)]
    return torch.stack([part.detach() for part in parts]).reshape(value.shape)


def laplacian_of(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return the Laplacian of a scalar that autograd recorded as a function of ``x``, itself differentiable."""
    eye = torch.eye(x.numel(), dtype=torch.int64).tolist()
    return sum(component(y, x, [2 * one for one in row]) for row in eye)
