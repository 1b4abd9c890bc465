"""The parameter gradient, differentiated with respect to the input entry by entry."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.gradient._parameter_gradient import parameter_gradient, track


def mixed_jacobian(fun: Any, params: Any, x: torch.Tensor, *data: Any) -> Any:
    """Run one backward pass for every entry of every gradient; ``x`` is one tensor."""
    x = track(x)
    gradient = parameter_gradient(fun, params, x, *data)

    def rows(slope: torch.Tensor) -> torch.Tensor:
        entries = [_slope(entry, x) for entry in slope.reshape(-1)]
        return torch.stack(entries).reshape(slope.shape + x.shape)

    return pytree.tree_map(rows, gradient)


def mixed_product(fun: Any, params: Any, vector: Any, x: torch.Tensor, *data: Any) -> torch.Tensor:
    """Differentiate the inner product of the gradient with the vector; ``x`` is one tensor."""
    x = track(x)
    slopes = pytree.tree_leaves(parameter_gradient(fun, params, x, *data))
    product = sum((slope * v).sum() for slope, v in zip(slopes, pytree.tree_leaves(vector), strict=True))
    return _slope(product, x)


def _slope(entry: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Differentiate one number by ``x``; zeros where it does not depend on it."""
    if not entry.requires_grad:
        return torch.zeros_like(x)
    return torch.autograd.grad(entry, x, retain_graph=True, materialize_grads=True)[0]
