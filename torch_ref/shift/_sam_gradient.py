"""The gradients of SAM and ASAM: the shift as one long vector, its derivative by a dense Jacobian."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.shift._vectors import as_tree, as_vector


def sam_gradient(loss_fn: Any, params: Any, *data: Any, **options: Any) -> Any:
    """Return the gradient at the worst point; see `value_and_sam_gradient` for the options."""
    return value_and_sam_gradient(loss_fn, params, *data, **options)[1]


def value_and_sam_gradient(
    loss_fn: Any,
    params: Any,
    *data: Any,
    radius: float,
    adaptive: bool = False,
    offset: float = 0.01,
    scaled: Any = None,
    num_steps: int = 1,
    groups: int = 1,
    exact: bool = False,
) -> Any:
    """Return the loss at the weights as they are, and the gradient; ``scaled`` is a tree of bools."""
    leaves = pytree.tree_leaves(params)
    flags = pytree.tree_leaves(scaled) if scaled is not None else [True] * len(leaves)
    by_size = torch.cat([torch.full((leaf.numel(),), flag) for leaf, flag in zip(leaves, flags, strict=True)])

    def metric(w: torch.Tensor) -> torch.Tensor:
        return torch.where(by_size, w.abs() + offset, 1.0) if adaptive else torch.ones_like(w)

    w = as_vector(params)
    values, slopes = [], []
    for part in zip(*[tensor.chunk(groups) for tensor in data], strict=True) if groups > 1 else [data]:

        def loss(vector: torch.Tensor, part: Any = part) -> torch.Tensor:
            return loss_fn(as_tree(vector, params), *part)

        values.append(loss(w))
        slopes.append(_at_worst(loss, w, metric, radius, num_steps, exact))
    return sum(values) / len(values), as_tree(sum(slopes) / len(slopes), params)


def slope_of(loss: Any, w: torch.Tensor, create_graph: bool = False) -> torch.Tensor:
    """Return the gradient of a function of one vector."""
    w = w if w.requires_grad else w.detach().requires_grad_()
    return torch.autograd.grad(loss(w), w, create_graph=create_graph)[0]


def shift_of(loss: Any, w: torch.Tensor, metric: Any, radius: float, num_steps: int) -> torch.Tensor:
    """Return the shift after all steps."""
    shift, diagonal = torch.zeros_like(w), metric(w)
    for _ in range(num_steps):
        slope = slope_of(loss, w + shift, create_graph=w.requires_grad)
        length = (diagonal * slope).norm()
        if length > 0:
            shift = shift + radius / num_steps * diagonal**2 * slope / length
    return shift


def _at_worst(loss: Any, w: torch.Tensor, metric: Any, radius: float, num_steps: int, exact: bool) -> torch.Tensor:
    """Return the gradient at the worst point; the exact one with the whole Jacobian of the shift."""
    move = shift_of(loss, w.detach(), metric, radius, num_steps)
    slope = slope_of(loss, (w + move).detach())
    if not exact:
        return slope

    def shifted(v: torch.Tensor) -> torch.Tensor:
        return shift_of(loss, v, metric, radius, num_steps)

    jacobian = torch.autograd.functional.jacobian(shifted, w.detach())
    return slope + jacobian.T @ slope
