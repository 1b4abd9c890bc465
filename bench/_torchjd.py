"""TorchJD as a rival: the Jacobian of several losses, all rows at once or one after the other; optional."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils import _pytree as pytree

from bench._rivals import of_library
from bench._row import Contender

__all__ = ["aggregated", "rows"]


def rows(losses_fn: Callable[..., Any], params: Any, *data: Any) -> list[Contender]:
    """Return its Jacobian as contenders."""
    ways = {"torchjd": None, "torchjd, one by one": 1}
    return [
        of_library("torchjd", name, lambda chunk=chunk: partial(_jacobian, losses_fn, params, *data, chunk=chunk))
        for name, chunk in ways.items()
    ]


def aggregated(losses_fn: Callable[..., Any], params: Any, *data: Any, weighting: Callable[..., Any]) -> Contender:
    """Return its Jacobian, the products of the rows, weights from these and the weighted sum."""

    def run() -> Any:
        jacobian = _jacobian(losses_fn, params, *data, chunk=1)
        flat = torch.cat([leaf.flatten(1) for leaf in pytree.tree_leaves(jacobian)], 1)
        weights = weighting(flat @ flat.T)
        return pytree.tree_map(lambda leaf: torch.tensordot(weights, leaf, 1), jacobian)

    return of_library("torchjd", "torchjd", lambda: run)


def _jacobian(losses_fn: Callable[..., Any], params: Any, *data: Any, chunk: int | None) -> Any:
    """Run the forward, and return the rows as a tree."""
    from torchjd.autojac import jac

    leaves, structure = pytree.tree_flatten(params)
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    found = jac(list(losses_fn(pytree.tree_unflatten(leaves, structure), *data)), leaves, parallel_chunk_size=chunk)
    return pytree.tree_unflatten(list(found), structure)
