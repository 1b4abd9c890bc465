"""The gradient after an adaptation to the minimum of a proximal problem, by dense matrices, task after task."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.meta._adapt import adapt, call


def implicit_gradient(
    loss_fn: Any, params: Any, support: Any, query: Any, *, strength: float, optimizer: Any, num_steps: int
) -> Any:
    """Step on the loss with its proximal term, form the Hessian at the end, and solve with it."""
    leaves, structure = pytree.tree_flatten(params)
    shapes = [leaf.shape for leaf in leaves]
    centre = torch.cat([leaf.detach().reshape(-1) for leaf in leaves])

    def tree_of(vector: torch.Tensor) -> Any:
        parts = vector.split([shape.numel() for shape in shapes])
        return pytree.tree_unflatten([part.view(shape) for part, shape in zip(parts, shapes, strict=True)], structure)

    def proximal(vector: torch.Tensor, task: Any) -> torch.Tensor:
        return call(loss_fn, tree_of(vector), task) + strength / 2 * ((vector - centre) ** 2).sum()

    gradients = []
    for t in range(len(pytree.tree_leaves(query)[0])):
        task, judged_on = [pytree.tree_map(lambda leaf, t=t: leaf[t], data) for data in (support, query)]
        fast = adapt(proximal, centre, (task,), optimizer=optimizer, num_steps=num_steps).detach().requires_grad_()
        (slope,) = torch.autograd.grad(call(loss_fn, tree_of(fast), judged_on), fast)
        # of the loss alone: the strength is added here, as the paper writes it
        hessian = torch.autograd.functional.hessian(lambda w, task=task: call(loss_fn, tree_of(w), task), fast.detach())
        matrix = hessian + strength * torch.eye(len(centre), dtype=centre.dtype)
        gradients.append(strength * torch.linalg.solve(matrix, slope))
    return tree_of(sum(gradients) / len(gradients))
