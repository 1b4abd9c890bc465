"""The Hessian, one row of double backward at a time."""

from typing import Any

import torch
from torch.utils import _pytree as pytree


def dense_hessian(loss_fn: Any, params: Any, *data: Any) -> torch.Tensor:
    """Differentiate every entry of the gradient in turn; the leaves come in the order of the given tree."""
    leaves, structure = pytree.tree_flatten(params)
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    loss = loss_fn(pytree.tree_unflatten(leaves, structure), *data)
    gradient = torch.autograd.grad(loss, leaves, create_graph=True, materialize_grads=True)
    rows = []
    for entry in torch.cat([g.reshape(-1) for g in gradient]):
        row = torch.autograd.grad(entry, leaves, retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([r.reshape(-1) for r in row]))
    return torch.stack(rows)
