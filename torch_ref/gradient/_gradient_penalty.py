"""Penalties on the input gradient of a critic, one example at a time."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.gradient._input_gradient import input_gradient


def gradient_penalty(fun: Any, params: Any, x: Any, *data: Any, target: Any = 1.0) -> torch.Tensor:
    """Loop over the batch; the graph is kept, so that the mean can be differentiated by the parameters."""
    penalties = []
    for i in range(pytree.tree_leaves(x)[0].shape[0]):
        one, *rest = pytree.tree_map(lambda leaf, i=i: leaf[i], (x, *data))
        slope = torch.cat([g.reshape(-1) for g in pytree.tree_leaves(input_gradient(fun, params, one, *rest))])
        penalties.append((slope**2).sum() if target is None else (torch.linalg.vector_norm(slope) - target) ** 2)
    return torch.stack(penalties).mean()
