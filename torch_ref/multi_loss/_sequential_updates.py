"""Several updates in a row, a fresh forward before each."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.multi_loss._gradients import in_order
from torch_ref.multi_loss._simultaneous_updates import restored, step


def sequential_updates(losses_fn: Any, params: Any, states: Any, *data: Any, optimizer: Any) -> Any:
    """For each loss in turn: forward, gradient, step."""
    leaves, structure = pytree.tree_flatten(params)
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    stepper = restored(optimizer, leaves, states)
    values: list[torch.Tensor] = []
    while True:
        losses = losses_fn(pytree.tree_unflatten(leaves, structure), *data)
        loss = in_order(losses)[len(values)]
        step(stepper, leaves, torch.autograd.grad(loss, leaves, allow_unused=True))
        values.append(loss.detach())
        if len(values) == len(in_order(losses)):
            break
    new = pytree.tree_unflatten([leaf.detach() for leaf in leaves], structure)
    return new, stepper.state_dict(), _like(losses, values)


def _like(losses: Any, values: list[torch.Tensor]) -> Any:
    """Return the values in the form of the losses."""
    if isinstance(losses, dict):
        return dict(zip(sorted(losses), values, strict=True))
    return torch.stack(values) if isinstance(losses, torch.Tensor) else type(losses)(values)
