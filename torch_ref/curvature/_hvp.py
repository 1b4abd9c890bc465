"""The Hessian times a vector by double backward."""

from typing import Any

import torch
from torch.utils import _pytree as pytree


def hvp(loss_fn: Any, params: Any, vector: Any, *data: Any) -> Any:
    """Differentiate the inner product of the gradient with the vector; a leaf the loss ignores gives zeros."""
    leaves, structure = pytree.tree_flatten(params)
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    # by key: the dictionaries may come in another order
    directions = structure.flatten_up_to(vector)
    loss = loss_fn(pytree.tree_unflatten(leaves, structure), *data)
    gradient = torch.autograd.grad(loss, leaves, create_graph=True, materialize_grads=True)
    slope = sum((g * v).sum() for g, v in zip(gradient, directions, strict=True))
    product = torch.autograd.grad(slope, leaves, materialize_grads=True)
    return pytree.tree_unflatten(list(product), structure)
