"""The gradient of a loss after one optimizer step."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.meta._adapt import adapt


def step_gradient(loss_fn: Any, params: Any, *data: Any, optimizer: Any, truncated: bool = False) -> Any:
    """Differentiate at the moved weights, with respect to the old ones or (truncated) to the moved ones themselves."""
    leaves, structure = pytree.tree_flatten(params)
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    moved = adapt(loss_fn, pytree.tree_unflatten(leaves, structure), data, optimizer=optimizer, num_steps=1)
    if truncated:
        leaves = [leaf.detach().requires_grad_() for leaf in pytree.tree_leaves(moved)]
        moved = pytree.tree_unflatten(leaves, structure)
    gradients = torch.autograd.grad(loss_fn(moved, *data), leaves, materialize_grads=True)
    return pytree.tree_unflatten(list(gradients), structure)
