"""The norm of a gradient, and the gradient of its square by double backward."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.gradient._parameter_gradient import parameter_gradient, track


def gradient_norm(loss_fn: Any, params: Any, *data: Any) -> torch.Tensor:
    """Concatenate the gradients and take their norm, with its graph."""
    gradient = parameter_gradient(loss_fn, params, *data)
    return torch.linalg.vector_norm(torch.cat([g.reshape(-1) for g in pytree.tree_leaves(gradient)]))


def squared_norm_gradient(loss_fn: Any, params: Any, *data: Any) -> tuple[torch.Tensor, Any]:
    """Sum the squares of the gradient, and differentiate the sum."""
    leaves, structure = pytree.tree_flatten(track(params))
    gradient = parameter_gradient(loss_fn, pytree.tree_unflatten(leaves, structure), *data)
    square = sum((g**2).sum() for g in pytree.tree_leaves(gradient))
    slope = torch.autograd.grad(square, leaves, materialize_grads=True)
    return square, pytree.tree_unflatten(list(slope), structure)
