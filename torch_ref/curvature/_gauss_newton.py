"""Levenberg and Marquardt by dense Jacobians and their normal equations."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

FIRST = 1e-3


def gauss_newton(residual_fn: Any, *, damping: float = 1e-3) -> Callable[..., tuple[Any, list[dict[str, Any]]]]:
    """Return ``run(params, num_steps, *batch)``, a loop that gives the last parameters and what every step left."""

    def run(params: Any, num_steps: int, *batch: Any) -> tuple[Any, list[dict[str, Any]]]:
        leaves, structure = pytree.tree_flatten(params)

        def tree(flat: torch.Tensor) -> Any:
            parts = flat.split([leaf.numel() for leaf in leaves])
            shaped = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
            return pytree.tree_unflatten(shaped, structure)

        def residuals(flat: torch.Tensor) -> torch.Tensor:
            return torch.cat([leaf.reshape(-1) for leaf in pytree.tree_leaves(residual_fn(tree(flat), *batch))])

        flat, states = torch.cat([leaf.detach().reshape(-1) for leaf in leaves]), []
        state = {"damping": damping, "growth": 2.0}
        for _ in range(num_steps):
            flat, state = _step(residuals, flat, state["damping"], state["growth"])
            states.append(state)
        return tree(flat), states

    return run


def _step(residuals: Any, flat: torch.Tensor, damping: Any, growth: Any) -> tuple[torch.Tensor, dict[str, Any]]:
    """Solve the damped normal equations, and accept or reject."""
    here, jacobian = residuals(flat), torch.autograd.functional.jacobian(residuals, flat)
    slope, square = jacobian.T @ here, jacobian.T @ jacobian
    step = -torch.linalg.solve(square + damping * torch.eye(len(flat), dtype=flat.dtype), slope)
    there = residuals(flat + step)
    gained = (here @ here - there @ there) / 2
    foretold = (here @ here - (here + jacobian @ step).square().sum()) / 2
    ratio = gained / foretold if foretold > 0 else torch.zeros(())
    accepted = bool(gained > 0)
    loss = (there @ there if accepted else here @ here) / 2
    if foretold <= torch.finfo(flat.dtype).eps * loss:
        growth = 2.0
    elif accepted:
        damping, growth = damping * max(1 / 3, 1 - (2 * ratio - 1) ** 3), 2.0
    elif damping > 0:
        damping, growth = damping * growth, 2 * growth
    else:
        damping, growth = FIRST * (slope @ square @ slope) / (slope @ slope), 2 * growth
    state = {"damping": damping, "growth": growth, "loss": loss, "gain_ratio": ratio, "accepted": accepted}
    return (flat + step if accepted else flat), state
