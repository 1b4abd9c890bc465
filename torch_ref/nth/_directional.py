"""Derivatives along a line through a pytree."""

import math
from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.nth._derivatives import differentiate


def directional(fun: Any, x: Any, direction: Any, order: int, *data: Any) -> Any:
    """Differentiate ``t -> fun(x + t direction)`` at 0, ``order`` times, one output leaf after the other."""
    return pytree.tree_map(lambda rows: rows[order], along(fun, x, direction, order, *data))


def along(fun: Any, x: Any, direction: Any, order: int, *data: Any) -> Any:
    """Stack the derivatives 0 to ``order`` of ``t -> fun(x + t direction)`` at 0 for every output leaf."""
    points, structure = pytree.tree_flatten(x)
    slopes = pytree.tree_leaves(direction)
    t = torch.zeros((), dtype=points[0].dtype, requires_grad=True)
    moved = [p.detach() + t * s.detach() for p, s in zip(points, slopes, strict=True)]

    def rows_of(leaf: torch.Tensor) -> torch.Tensor:
        rows = [leaf]
        for _ in range(order):
            rows.append(differentiate(rows[-1], t))
        return torch.stack([row.detach() for row in rows])

    return pytree.tree_map(rows_of, fun(pytree.tree_unflatten(moved, structure), *data))


def taylor_coefficients(fun: Any, x: Any, direction: Any, order: int, *data: Any) -> Any:
    """Divide the stacked derivatives by their factorials."""

    def normalise(rows: torch.Tensor) -> torch.Tensor:
        return torch.stack([row / math.factorial(k) for k, row in enumerate(rows)])

    return pytree.tree_map(normalise, along(fun, x, direction, order, *data))
