"""Influence by every pair of gradients and an inverse."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.curvature import _dense


def influence(loss_fn: Any, params: Any, train: Any, test: Any, *, inverse: Any = None) -> torch.Tensor:
    """Return ``-g_test . inverse(g_train) / N``, with the inverse of the training gradients, one by one."""
    every = [_gradient(loss_fn, params, example) for example in _examples(train)]
    turned = every if inverse is None else [inverse(gradient) for gradient in every]
    columns = [_dense.flat(_dense.in_order(gradient, params)) for gradient in turned]
    rows = [_dense.flat(_gradient(loss_fn, params, example)) for example in _examples(test)]
    return -torch.stack([torch.stack([row @ column for column in columns]) for row in rows]) / len(columns)


def _examples(batch: Any) -> list[Any]:
    """Cut a batch into its examples."""
    size = len(pytree.tree_leaves(batch)[0])
    return [pytree.tree_map(lambda leaf, i=i: leaf[i], batch) for i in range(size)]


def _gradient(loss_fn: Any, params: Any, example: Any) -> Any:
    """Differentiate the loss of one example."""
    leaves, structure = pytree.tree_flatten(params)
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    slopes = torch.autograd.grad(
        loss_fn(pytree.tree_unflatten(leaves, structure), *example), leaves, materialize_grads=True
    )
    return pytree.tree_unflatten(list(slopes), structure)
