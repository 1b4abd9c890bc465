"""Several updates in a row, all gradients taken before the first."""

import copy
from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.multi_loss._gradients import in_order


def simultaneous_updates(losses_fn: Any, params: Any, states: Any, *data: Any, optimizer: Any) -> Any:
    """Take all gradients first, since torch refuses a backward after an in-place step; then step after step."""
    leaves, structure = pytree.tree_flatten(params)
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    stepper = restored(optimizer, leaves, states)
    losses = losses_fn(pytree.tree_unflatten(leaves, structure), *data)
    rows = [torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True) for loss in in_order(losses)]
    for row in rows:
        step(stepper, leaves, row)
    new = pytree.tree_unflatten([leaf.detach() for leaf in leaves], structure)
    return new, stepper.state_dict(), pytree.tree_map(torch.detach, losses)


def restored(optimizer: Any, leaves: list[torch.Tensor], states: Any) -> Any:
    """Build the optimizer of some leaves in a state, of which it takes a copy."""
    stepper = optimizer(leaves)
    stepper.load_state_dict(copy.deepcopy(states))
    return stepper


def step(stepper: Any, leaves: list[torch.Tensor], gradient: Any) -> None:
    """Take one step; a leaf whose gradient is ``None`` does not move, and neither does its state."""
    stepper.zero_grad(set_to_none=True)
    for leaf, slope in zip(leaves, gradient, strict=True):
        leaf.grad = slope
    stepper.step()
