"""A gradient for each of several losses, one ``backward(retain_graph=True)`` after the other."""

from typing import Any

import torch
from torch.utils import _pytree as pytree


def in_order(losses: Any) -> list[torch.Tensor]:
    """Return the losses one by one; those of a dictionary in the order of its sorted keys."""
    return [losses[key] for key in sorted(losses)] if isinstance(losses, dict) else list(losses)


def gradients(losses_fn: Any, params: Any, *data: Any) -> Any:
    """Return the gradients along a leading axis of every leaf; zeros where a loss does not touch it."""
    return losses_and_gradients(losses_fn, params, *data)[1]


def losses_and_gradients(losses_fn: Any, params: Any, *data: Any) -> Any:
    """Return the losses and their gradients."""
    leaves, structure = pytree.tree_flatten(params)
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    losses = losses_fn(pytree.tree_unflatten(leaves, structure), *data)
    rows = []
    for loss in in_order(losses):
        for leaf in leaves:
            leaf.grad = None
        loss.backward(retain_graph=True)
        rows.append([torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves])
    stacked = [torch.stack(column) for column in zip(*rows, strict=True)]
    return pytree.tree_map(torch.detach, losses), pytree.tree_unflatten(stacked, structure)
