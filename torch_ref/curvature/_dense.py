"""Dense matrices, a row of double backward at a time: what the references multiply with."""

from typing import Any

import torch
from torch.utils import _pytree as pytree


def flat(tree: Any) -> torch.Tensor:
    """Join the leaves of a tree, raveled."""
    return torch.cat([leaf.reshape(-1) for leaf in pytree.tree_leaves(tree)])


def cut(vector: torch.Tensor, like: Any) -> Any:
    """Cut a vector into the leaves of a tree."""
    leaves, structure = pytree.tree_flatten(like)
    parts = vector.split([leaf.numel() for leaf in leaves])
    return pytree.tree_unflatten([p.reshape(leaf.shape) for p, leaf in zip(parts, leaves, strict=True)], structure)


def in_order(tree: Any, like: Any) -> Any:
    """Return a tree with its dictionaries in the order of another's."""
    structure = pytree.tree_flatten(like)[1]
    return pytree.tree_unflatten(structure.flatten_up_to(tree), structure)


def jacobian(fun: Any, params: Any) -> tuple[Any, torch.Tensor]:
    """Return the result of a function, and its Jacobian: a row for every number of the result."""
    leaves, structure = pytree.tree_flatten(params)
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    result = fun(pytree.tree_unflatten(leaves, structure))
    rows = [
        flat(list(torch.autograd.grad(number, leaves, retain_graph=True, materialize_grads=True)))
        for number in flat(result)
    ]
    return pytree.tree_map(torch.Tensor.detach, result), torch.stack(rows)


def hessian(fun: Any, point: torch.Tensor) -> torch.Tensor:
    """Return the Hessian of a scalar function of one array, by double backward."""
    point = point.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(fun(point), point, create_graph=True, materialize_grads=True)
    if not gradient.requires_grad:
        return torch.zeros(point.numel(), point.numel(), dtype=point.dtype)
    rows = [
        torch.autograd.grad(number, point, retain_graph=True, materialize_grads=True)[0].reshape(-1)
        for number in gradient.reshape(-1)
    ]
    return torch.stack(rows)
