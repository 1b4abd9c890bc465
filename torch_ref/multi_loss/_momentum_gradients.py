"""Momenta of several losses, one of which is differentiated a step."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.multi_loss._gradients import in_order


def init_momentum(params: Any, num_losses: int) -> dict[str, Any]:
    """Return a momentum and a count for each loss, and the number of steps."""
    momenta = [pytree.tree_map(torch.zeros_like, params) for _ in range(num_losses)]
    return {"momenta": momenta, "counts": [0] * num_losses, "step": 0}


def momentum_gradients(
    losses_fn: Any, params: Any, state: Any, *data: Any, weighting: Any, decay: float = 0.9
) -> tuple[Any, Any]:
    """Differentiate the loss whose turn it is, move its momentum, and weigh the corrected momenta by their products."""
    leaves, structure = pytree.tree_flatten(params)
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    which = state["step"] % len(state["counts"])
    loss = in_order(losses_fn(pytree.tree_unflatten(leaves, structure), *data))[which]
    slopes = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    momenta, counts = list(state["momenta"]), list(state["counts"])
    old = pytree.tree_leaves(momenta[which])
    moved = [decay * m + (1 - decay) * g for m, g in zip(old, slopes, strict=True)]
    momenta[which] = pytree.tree_unflatten(moved, structure)
    counts[which] += 1
    rows = [
        torch.cat([m.reshape(-1) for m in pytree.tree_leaves(mine)]) / (1 - decay**count if count else 1)
        for mine, count in zip(momenta, counts, strict=True)
    ]
    jacobian = torch.stack(rows)
    flat = weighting(jacobian @ jacobian.T) @ jacobian
    parts = torch.split(flat, [leaf.numel() for leaf in leaves])
    gradient = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
    new = {"momenta": momenta, "counts": counts, "step": state["step"] + 1}
    return pytree.tree_unflatten(gradient, structure), new
