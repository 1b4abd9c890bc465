"""The gradients of SAM and ASAM, by concatenating the whole gradient."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.shift._gradient import gradient


def sam_gradient(
    loss_fn: Any, params: Any, *data: Any, radius: float, adaptive: bool = False, offset: float = 0.01
) -> Any:
    """Form the shift as one long vector, a constant, and take the gradient there."""
    leaves, structure = pytree.tree_flatten(params)
    slope = torch.cat([g.reshape(-1) for g in pytree.tree_leaves(gradient(loss_fn, params, None, *data))])
    weights = torch.cat([leaf.reshape(-1) for leaf in leaves])
    metric = weights.abs() + offset if adaptive else torch.ones_like(weights)
    length = (metric * slope).norm()
    shift = radius * metric**2 * slope / length if length > 0 else torch.zeros_like(slope)
    pieces = shift.split([leaf.numel() for leaf in leaves])
    parts = [piece.reshape(leaf.shape) for piece, leaf in zip(pieces, leaves, strict=True)]
    return gradient(loss_fn, params, pytree.tree_unflatten(parts, structure), *data)


def value_and_sam_gradient(
    loss_fn: Any, params: Any, *data: Any, radius: float, adaptive: bool = False, offset: float = 0.01
) -> Any:
    """Return the loss at the weights as they are, evaluated apart, and the gradient."""
    slopes = sam_gradient(loss_fn, params, *data, radius=radius, adaptive=adaptive, offset=offset)
    return loss_fn(params, *data), slopes
