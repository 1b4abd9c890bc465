"""The gradient at the adapted parameters, one task after the other."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.meta._adapt import adapt, call


def value_and_first_order_gradient(
    loss_fn: Any, params: Any, support: Any, query: Any, *, optimizer: Any, num_steps: int
) -> tuple[torch.Tensor, Any]:
    """Cut the graph at the fast weights of every task, and take the mean of the gradients there."""
    num_tasks = len(pytree.tree_leaves(query)[0])
    values, gradients = [], []
    for t in range(num_tasks):
        task = pytree.tree_map(lambda leaf, t=t: leaf[t], support)
        fast = adapt(loss_fn, params, task, optimizer=optimizer, num_steps=num_steps)
        leaves, structure = pytree.tree_flatten(fast)
        leaves = [leaf.detach().requires_grad_() for leaf in leaves]
        judged_on = pytree.tree_map(lambda leaf, t=t: leaf[t], query)
        loss = call(loss_fn, pytree.tree_unflatten(leaves, structure), judged_on)
        gradients.append(torch.autograd.grad(loss, leaves, materialize_grads=True))
        values.append(loss.detach())
    mean = [sum(column) / num_tasks for column in zip(*gradients, strict=True)]
    return sum(values) / num_tasks, pytree.tree_unflatten(mean, structure)


def first_order_gradient(loss_fn: Any, params: Any, support: Any, query: Any, *, optimizer: Any, num_steps: int) -> Any:
    """Drop the value."""
    return value_and_first_order_gradient(loss_fn, params, support, query, optimizer=optimizer, num_steps=num_steps)[1]
