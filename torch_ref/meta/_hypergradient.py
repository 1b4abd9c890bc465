"""The gradient of a bilevel problem: by dense matrices at the minimum, or through the graph of the steps."""

from typing import Any

import torch
from torch.autograd.functional import hessian, jacobian
from torch.utils import _pytree as pytree

from torch_ref.meta._adapt import adapt


def hypergradient(
    inner_loss: Any,
    outer_loss: Any,
    params: Any,
    hyper: Any,
    inner_data: Any,
    outer_data: Any,
    *,
    optimizer: Any,
    num_steps: int,
    method: str = "implicit",
    damping: float = 0.0,
) -> Any:
    """Step, keeping the graph, and go back through it; or form the Hessian and the mixed derivatives where it ends.

    ``optimizer`` may be a function of ``hyper``; ``"forward"`` is ``"unrolled"``, for it is the same number.
    """
    leaves, structure = pytree.tree_flatten(hyper)
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    hyper = pytree.tree_unflatten(leaves, structure)
    rule = optimizer if hasattr(optimizer, "update") else optimizer(hyper)
    fast = adapt(lambda w, *data: inner_loss(w, hyper, *data), params, inner_data, optimizer=rule, num_steps=num_steps)
    if method != "implicit":
        value = outer_loss(fast, hyper, *outer_data)
        return pytree.tree_unflatten(list(torch.autograd.grad(value, leaves, materialize_grads=True)), structure)
    ends, inside = pytree.tree_flatten(fast)
    shapes = [leaf.shape for leaf in ends]
    flat = torch.cat([leaf.detach().reshape(-1) for leaf in ends])

    def tree_of(vector: torch.Tensor) -> Any:
        parts = vector.split([shape.numel() for shape in shapes])
        return pytree.tree_unflatten([part.view(shape) for part, shape in zip(parts, shapes, strict=True)], inside)

    def inner(vector: torch.Tensor, *leaves: torch.Tensor) -> torch.Tensor:
        return inner_loss(tree_of(vector), pytree.tree_unflatten(list(leaves), structure), *inner_data)

    def slope(*leaves: torch.Tensor) -> torch.Tensor:
        vector = flat.clone().requires_grad_()
        return torch.autograd.grad(inner(vector, *leaves), vector, create_graph=True)[0]

    matrix = hessian(lambda w: inner(w, *leaves), flat) + damping * torch.eye(len(flat), dtype=flat.dtype)
    at = flat.clone().requires_grad_()
    value = outer_loss(tree_of(at), hyper, *outer_data)
    of_params, *direct = torch.autograd.grad(value, [at, *leaves], materialize_grads=True)
    solved = torch.linalg.solve(matrix, of_params)
    mixed = jacobian(slope, tuple(leaves))
    total = [d - torch.tensordot(solved, m, 1) for d, m in zip(direct, mixed, strict=True)]
    return pytree.tree_unflatten(total, structure)
