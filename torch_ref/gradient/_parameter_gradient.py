"""The gradient of a loss with respect to its parameters by one backward pass."""

from typing import Any

import torch
from torch.utils import _pytree as pytree


def value_and_grad(loss_fn: Any, params: Any, *data: Any) -> tuple[torch.Tensor, Any]:
    """Return the loss and its gradient, both with their graph; a leaf the loss ignores gives zeros."""
    leaves, structure = pytree.tree_flatten(track(params))
    loss = loss_fn(pytree.tree_unflatten(leaves, structure), *data)
    gradient = torch.autograd.grad(loss, leaves, create_graph=True, materialize_grads=True)
    return loss, pytree.tree_unflatten(list(gradient), structure)


def parameter_gradient(loss_fn: Any, params: Any, *data: Any) -> Any:
    """Return the gradient alone."""
    return value_and_grad(loss_fn, params, *data)[1]


def track(tree: Any) -> Any:
    """Make autograd follow every leaf; one that it follows already stays part of its graph."""
    return pytree.tree_map(lambda leaf: leaf if leaf.requires_grad else leaf.detach().requires_grad_(), tree)
