"""The gradient of the loss after adaptation, one task after the other."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.meta._adapt import adapt, call


def value_and_maml_gradient(
    loss_fn: Any, params: Any, support: Any, query: Any, *, optimizer: Any, num_steps: int
) -> tuple[torch.Tensor, Any]:
    """Add up the losses at the fast weights of every task, and go back through all of it at once."""
    leaves, structure = pytree.tree_flatten(params)
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    start = pytree.tree_unflatten(leaves, structure)
    num_tasks = len(pytree.tree_leaves(query)[0])
    losses = []
    for t in range(num_tasks):
        task = pytree.tree_map(lambda leaf, t=t: leaf[t], support)
        fast = adapt(loss_fn, start, task, optimizer=optimizer, num_steps=num_steps)
        losses.append(call(loss_fn, fast, pytree.tree_map(lambda leaf, t=t: leaf[t], query)))
    value = sum(losses) / num_tasks
    gradients = torch.autograd.grad(value, leaves, materialize_grads=True)
    return value.detach(), pytree.tree_unflatten(list(gradients), structure)


def maml_gradient(loss_fn: Any, params: Any, support: Any, query: Any, *, optimizer: Any, num_steps: int) -> Any:
    """Drop the value."""
    return value_and_maml_gradient(loss_fn, params, support, query, optimizer=optimizer, num_steps=num_steps)[1]
