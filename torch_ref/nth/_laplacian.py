"""Sums of second derivatives, from the rows of the Hessian."""

from typing import Any

import torch

from torch_ref.nth._mixed import all_mixed, component, mixed_partial


def laplacian(fun: Any, x: torch.Tensor, *data: Any) -> torch.Tensor:
    """Add up the pure second partials of every output component."""
    x = x.detach().requires_grad_()
    value = fun(x, *data)
    parts = [laplacian_of(entry, x) for entry in value.reshape(-1)]
    return torch.stack([part.detach() for part in parts]).reshape(value.shape)


def value_gradient_laplacian(fun: Any, x: torch.Tensor, *data: Any) -> Any:
    """Return the value, its Jacobian row by row, and the Laplacian, each by itself."""
    point = x.detach().requires_grad_()
    value = fun(point, *data)
    rows = [torch.autograd.grad(entry, point, retain_graph=True)[0] for entry in value.reshape(-1)]
    return value.detach(), torch.stack(rows).reshape(*value.shape, -1), laplacian(fun, x, *data)


def laplacian_of(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return the Laplacian of a scalar that autograd recorded as a function of ``x``, itself differentiable."""
    eye = torch.eye(x.numel(), dtype=torch.int64).tolist()
    return sum(component(y, x, [2 * one for one in row]) for row in eye)


def second_derivatives(fun: Any, x: torch.Tensor, *data: Any) -> torch.Tensor:
    """Stack the pure second partials."""
    dim = x.numel()
    return torch.stack([mixed_partial(fun, x, [2 * (i == j) for j in range(dim)], *data) for i in range(dim)])


def weighted_laplacian(fun: Any, x: torch.Tensor, weights: torch.Tensor, *data: Any, factored: bool = False) -> Any:
    """Add up all second partials with their weights."""
    matrix = weights @ weights.T if factored else torch.diag(weights) if weights.ndim == 1 else weights
    hessian = all_mixed(fun, x, 2, *data)
    return sum(matrix[i, j] * hessian[i, j] for i in range(x.numel()) for j in range(x.numel()))
