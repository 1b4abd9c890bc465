"""A few optimizer steps on one task, with explicit fast weights."""

from typing import Any

import torch
from torch.utils import _pytree as pytree


def call(loss_fn: Any, params: Any, data: Any) -> torch.Tensor:
    """Hand the items of a plain tuple to the loss, or anything else as one argument."""
    return loss_fn(params, *data) if type(data) is tuple else loss_fn(params, data)


def adapt(loss_fn: Any, params: Any, support: Any, *, optimizer: Any, num_steps: int) -> Any:
    """Step, keeping the graph: the result depends on ``params`` through every step."""
    leaves, structure = pytree.tree_flatten(params)
    leaves = [leaf if leaf.requires_grad else leaf.detach().requires_grad_() for leaf in leaves]
    state = optimizer.init(leaves)
    for _ in range(num_steps):
        loss = call(loss_fn, pytree.tree_unflatten(leaves, structure), support)
        gradients = torch.autograd.grad(loss, leaves, create_graph=True, materialize_grads=True)
        updates, state = optimizer.update(list(gradients), state)
        leaves = [leaf + update for leaf, update in zip(leaves, updates, strict=True)]
    return pytree.tree_unflatten(leaves, structure)
