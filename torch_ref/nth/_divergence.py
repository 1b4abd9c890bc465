"""The divergence of a vector field, one component at a time."""

from typing import Any

import torch


def divergence(fun: Any, x: torch.Tensor, *data: Any) -> torch.Tensor:
    """Differentiate each component by its own variable."""
    x = x.detach().requires_grad_()
    value = fun(x, *data)
    total = torch.zeros_like(value[0]).detach().reshape(-1)
    for i in range(x.numel()):
        for place, entry in enumerate(value[i].reshape(-1)):
            total[place] += torch.autograd.grad(entry, x, retain_graph=True, materialize_grads=True)[0][i]
    return total.reshape(value.shape[1:])
