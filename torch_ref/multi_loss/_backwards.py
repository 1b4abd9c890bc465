"""A forward that is kept by torch itself: the graph, and ``backward(retain_graph=True)`` as often as wanted."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.multi_loss._gradients import in_order


class Backwards:
    """The losses and their graph."""

    def __init__(self, losses: Any, leaves: list[torch.Tensor], structure: Any) -> None:
        self.losses, self.leaves, self.structure = losses, leaves, structure

    def gradient(self, loss: Any) -> Any:
        """Return the gradient of one loss, by its key or index; the graph stays."""
        for leaf in self.leaves:
            leaf.grad = None
        self.losses[loss].backward(retain_graph=True)
        found = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in self.leaves]
        return pytree.tree_unflatten(found, self.structure)

    def gradients(self) -> Any:
        """Return the gradients along a leading axis."""
        keys = sorted(self.losses) if isinstance(self.losses, dict) else range(len(in_order(self.losses)))
        return pytree.tree_map(lambda *rows: torch.stack(rows), *[self.gradient(key) for key in keys])


def backwards(losses_fn: Any, params: Any, *data: Any) -> Backwards:
    """Run the forward, and keep its graph."""
    leaves, structure = pytree.tree_flatten(params)
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    return Backwards(losses_fn(pytree.tree_unflatten(leaves, structure), *data), leaves, structure)
