"""The damped empirical Fisher, dense in the parameters."""

from typing import Any

import torch
from torch.utils import _pytree as pytree


def row_space_solve(loss_fn: Any, params: Any, rhs: Any, *batch: Any, damping: float) -> Any:
    """Form every gradient and the matrix of all parameters, and solve."""
    leaves, structure = pytree.tree_flatten(params)
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    rows = []
    for example in zip(*batch, strict=True):
        loss = loss_fn(pytree.tree_unflatten(leaves, structure), *example)
        gradient = torch.autograd.grad(loss, leaves, materialize_grads=True)
        rows.append(torch.cat([part.reshape(-1) for part in gradient]))
    matrix = torch.stack(rows)
    fisher = matrix.T @ matrix / len(matrix) + damping * torch.eye(matrix.shape[1], dtype=matrix.dtype)
    flat = torch.cat([part.reshape(-1) for part in structure.flatten_up_to(rhs)])
    parts = torch.linalg.solve(fisher, flat).split([leaf.numel() for leaf in leaves])
    shaped = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
    return pytree.tree_unflatten(shaped, structure)
