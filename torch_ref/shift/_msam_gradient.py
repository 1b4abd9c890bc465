"""The gradient of Momentum-SAM on long vectors; the state is the trace."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.shift._gradient import gradient
from torch_ref.shift._vectors import as_tree, as_vector


def msam_init(params: Any) -> Any:
    """Return zeros."""
    return pytree.tree_map(torch.zeros_like, params)


def msam_gradient(loss_fn: Any, params: Any, state: Any, *data: Any, radius: float, momentum: float = 0.9) -> Any:
    """Take the gradient along the trace, and add it to it."""
    trace = as_vector(state)
    length = trace.norm()
    shift = radius * trace / length if length > 0 else trace
    slopes = gradient(loss_fn, params, as_tree(shift, params), *data)
    return slopes, as_tree(momentum * trace + as_vector(slopes), params)
