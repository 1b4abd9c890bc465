"""Derivatives of an ODE's solution: the total derivative of the right-hand side, again and again."""

import math
from typing import Any

import torch
from torch.utils import _pytree as pytree


def ode_series(field: Any, x: Any, order: int, *data: Any, t: Any = None, factorial_scaled: bool = True) -> Any:
    """Apply ``D g = dg/dt + (dg/dx) f`` to the state ``order`` times, one entry of ``g`` after the other."""
    leaves, structure = pytree.tree_flatten(x)
    sizes = [leaf.numel() for leaf in leaves]
    state = torch.cat([leaf.detach().reshape(-1) for leaf in leaves]).requires_grad_()
    now = (torch.zeros((), dtype=state.dtype) if t is None else t.detach().clone()).requires_grad_()
    parts = [part.reshape(leaf.shape) for part, leaf in zip(state.split(sizes), leaves, strict=True)]
    tree = pytree.tree_unflatten(parts, structure)
    value = field(tree, *data) if t is None else field(now, tree, *data)
    slope = torch.cat([leaf.reshape(-1) for leaf in pytree.tree_flatten(value)[0]])

    def total(entry: torch.Tensor) -> torch.Tensor:
        if not entry.requires_grad:
            return torch.zeros_like(entry)
        by = torch.autograd.grad(entry, (now, state), create_graph=True, materialize_grads=True)
        return by[0] + by[1] @ slope

    rows = [state + 0]
    for _ in range(order):
        rows.append(torch.stack([total(entry) for entry in rows[-1]]))
    scaled = [row.detach() / (1 if factorial_scaled else math.factorial(k)) for k, row in enumerate(rows)]
    columns = torch.stack(scaled).split(sizes, 1)
    stacked = [part.reshape(order + 1, *leaf.shape) for part, leaf in zip(columns, leaves, strict=True)]
    return pytree.tree_unflatten(stacked, structure)
