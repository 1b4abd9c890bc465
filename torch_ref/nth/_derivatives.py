"""Derivatives of every order by repeated reverse differentiation."""

from typing import Any

import torch


def derivatives(fun: Any, x: torch.Tensor, order: int, *data: Any) -> torch.Tensor:
    """Stack the value and the derivatives 1 to ``order``; each is one more pass of autograd over the last."""
    x = x.detach().requires_grad_()
    rows = [fun(x, *data)]
    for _ in range(order):
        rows.append(differentiate(rows[-1], x))
    return torch.stack([row.detach() for row in rows])


def derivative(fun: Any, x: torch.Tensor, order: int, *data: Any) -> torch.Tensor:
    """Return the last row of `derivatives`."""
    return derivatives(fun, x, order, *data)[order]


def differentiate(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Differentiate every component of ``y``, of shape ``(*x.shape, ...)``, by its own entry of ``x``."""
    if not y.requires_grad:
        return torch.zeros_like(y)
    columns = y.reshape(x.numel(), -1).T
    parts = [
        torch.autograd.grad(column.sum(), x, create_graph=True, materialize_grads=True)[0]
        if column.requires_grad
        else x * 0
        for column in columns
    ]
    return torch.stack([part.reshape(-1) for part in parts], 1).reshape(y.shape)
