"""Mixed partial derivatives, one variable after the other."""

import itertools
from typing import Any

import torch


def mixed_partial(fun: Any, x: torch.Tensor, orders: Any, *data: Any) -> torch.Tensor:
    """Differentiate by each entry of ``x`` as often as ``orders`` says, one output component at a time."""
    x = x.detach().requires_grad_()
    value = fun(x, *data)
    parts = [component(entry, x, orders) for entry in value.reshape(-1)]
    return torch.stack([part.detach() for part in parts]).reshape(value.shape)


def component(y: torch.Tensor, x: torch.Tensor, orders: Any) -> torch.Tensor:
    """Return one mixed partial of a scalar that autograd recorded as a function of ``x``."""
    for i, times in enumerate(orders):
        for _ in range(times):
            if not y.requires_grad:
                return torch.zeros_like(y)
            y = torch.autograd.grad(y, x, create_graph=True, materialize_grads=True)[0][i]
    return y


def all_mixed(fun: Any, x: torch.Tensor, order: int, *data: Any) -> torch.Tensor:
    """Fill the tensor of partial derivatives entry by entry."""
    dim = x.numel()
    entries = [
        mixed_partial(fun, x, [axes.count(i) for i in range(dim)], *data)
        for axes in itertools.product(range(dim), repeat=order)
    ]
    return torch.stack(entries).reshape(*[dim] * order, *entries[0].shape)
