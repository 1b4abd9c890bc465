"""The gradient through the last inner steps alone, one task after the other."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.meta._adapt import call


def truncated_gradient(
    loss_fn: Any, params: Any, support: Any, query: Any, *, optimizer: Any, num_steps: int, window: int
) -> Any:
    """Forget the graph where the window begins, and go back to there."""
    leaves, structure = pytree.tree_flatten(params)
    num_tasks = len(pytree.tree_leaves(query)[0])
    total = [torch.zeros_like(leaf) for leaf in leaves]
    for t in range(num_tasks):
        task = pytree.tree_map(lambda leaf, t=t: leaf[t], support)
        fast = [leaf.detach().requires_grad_() for leaf in leaves]
        state, entering = optimizer.init(fast), fast
        for k in range(num_steps):
            if k == num_steps - window:
                fast = [leaf.detach().requires_grad_() for leaf in fast]
                state = pytree.tree_map(lambda x: x.detach() if isinstance(x, torch.Tensor) else x, state)
                entering = fast
            loss = call(loss_fn, pytree.tree_unflatten(fast, structure), task)
            gradients = torch.autograd.grad(loss, fast, create_graph=True, materialize_grads=True)
            updates, state = optimizer.update(list(gradients), state)
            fast = [leaf + update for leaf, update in zip(fast, updates, strict=True)]
        if not window:
            fast = [leaf.detach().requires_grad_() for leaf in fast]
            entering = fast
        loss = call(loss_fn, pytree.tree_unflatten(fast, structure), pytree.tree_map(lambda leaf, t=t: leaf[t], query))
        gradients = torch.autograd.grad(loss, entering, materialize_grads=True)
        total = [a + g / num_tasks for a, g in zip(total, gradients, strict=True)]
    return pytree.tree_unflatten(total, structure)
