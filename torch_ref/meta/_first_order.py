"""The gradient at the adapted parameters, one task after the other."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.meta._adapt import evaluate, steps, task_of


def value_and_first_order_gradient(
    loss_fn: Any, params: Any, support: Any, query: Any, *, optimizer: Any, num_steps: int, **options: Any
) -> tuple[torch.Tensor, Any]:
    """Cut the graph at the fast weights of every task, and take the mean of the gradients there."""
    train, has_aux = options.get("statistics") == "transductive", options.get("has_aux", False)
    num_tasks = len(pytree.tree_leaves(query)[0])
    values, gradients = [], []
    for t in range(num_tasks):
        after = steps(loss_fn, params, task_of(support, t), optimizer=optimizer, num_steps=num_steps, **options)
        leaves, structure = pytree.tree_flatten(after.params)
        leaves = [leaf.detach().requires_grad_() for leaf in leaves]
        fast = pytree.tree_unflatten(leaves, structure)
        loss = evaluate(loss_fn, fast, task_of(query, t), after.state, train, has_aux)[0]
        gradients.append(torch.autograd.grad(loss, leaves, materialize_grads=True))
        values.append(loss.detach())
    mean = [sum(column) / num_tasks for column in zip(*gradients, strict=True)]
    return sum(values) / num_tasks, pytree.tree_unflatten(mean, structure)


def first_order_gradient(
    loss_fn: Any, params: Any, support: Any, query: Any, *, optimizer: Any, num_steps: int, **options: Any
) -> Any:
    """Drop the value."""
    inner = {"optimizer": optimizer, "num_steps": num_steps, **options}
    return value_and_first_order_gradient(loss_fn, params, support, query, **inner)[1]
