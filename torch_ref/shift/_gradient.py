"""The gradient at w + a: the sum is part of the graph, and the gradient is taken with respect to w."""

from typing import Any

import torch
from torch.utils import _pytree as pytree


def moved(params: Any, shift: Any) -> Any:
    """Walk down both trees, and add where the shift has a leaf; keys may be absent and nodes ``None``."""
    if shift is None:
        return params
    if isinstance(params, dict):
        return {key: moved(node, shift.get(key)) for key, node in params.items()}
    if isinstance(params, list | tuple):
        return type(params)(moved(node, other) for node, other in zip(params, shift, strict=True))
    return params + shift


def scaled(shift: Any, factor: float) -> Any:
    """Multiply every leaf of a shift."""
    return pytree.tree_map(lambda leaf: None if leaf is None else factor * leaf, shift)


def gradient(loss_fn: Any, params: Any, shift: Any, *data: Any, scale: float = 1.0) -> Any:
    """Return the gradient at the moved parameters; a leaf that the loss ignores gives zeros."""
    return value_and_grad(loss_fn, params, shift, *data, scale=scale)[1]


def value_and_grad(loss_fn: Any, params: Any, shift: Any, *data: Any, scale: float = 1.0) -> Any:
    """Return the loss and its gradient at the moved parameters."""
    leaves, structure = pytree.tree_flatten(params)
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    loss = loss_fn(moved(pytree.tree_unflatten(leaves, structure), scaled(shift, scale)), *data)
    slopes = torch.autograd.grad(loss, leaves, materialize_grads=True)
    return loss.detach(), pytree.tree_unflatten(list(slopes), structure)
