"""The Laplacian of the Laplacian."""

from typing import Any

import torch

from torch_ref.nth._laplacian import laplacian_of


def biharmonic(fun: Any, x: torch.Tensor, *data: Any) -> torch.Tensor:
    """Differentiate the differentiable Laplacian once more, one output component at a time."""
    x = x.detach().requires_grad_()
    value = fun(x, *data)
    parts = [laplacian_of(laplacian_of(entry, x), x) for entry in value.reshape(-1)]
    return torch.stack([part.detach() for part in parts]).reshape(value.shape)
