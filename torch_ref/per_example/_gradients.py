"""One gradient for every example, by a loop."""

from typing import Any

import torch
from torch.utils import _pytree as pytree


def examples(batch: Any) -> list[Any]:
    """Split a tuple of batched trees into a list of tuples, one for every example."""
    size = pytree.tree_leaves(batch)[0].shape[0]
    return [pytree.tree_map(lambda leaf, i=i: leaf[i], batch) for i in range(size)]


def value_and_grad(loss_fn: Any, params: Any, example: Any) -> Any:
    """Return the loss of one example and its gradient, a tree; a leaf the loss ignores gives zeros."""
    leaves, structure = pytree.tree_flatten(params)
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    loss = loss_fn(pytree.tree_unflatten(leaves, structure), *example)
    gradient = torch.autograd.grad(loss, leaves, materialize_grads=True)
    return loss.detach(), pytree.tree_unflatten(list(gradient), structure)


def stack(trees: Any) -> Any:
    """Stack a list of trees along a new leading axis."""
    return pytree.tree_map(lambda *leaves: torch.stack(leaves), *trees)


def gradients(loss_fn: Any, params: Any, *batch: Any) -> Any:
    """Differentiate one example after the other, and stack."""
    return stack([value_and_grad(loss_fn, params, example)[1] for example in examples(batch)])
