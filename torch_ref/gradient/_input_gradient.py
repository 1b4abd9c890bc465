"""The gradient of a scalar function with respect to its input."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.gradient._parameter_gradient import track


def input_gradient(fun: Any, params: Any, x: Any, *data: Any) -> Any:
    """Differentiate the result by every leaf of the input, with the graph of that kept."""
    leaves, structure = pytree.tree_flatten(track(x))
    out = fun(params, pytree.tree_unflatten(leaves, structure), *data)
    gradient = torch.autograd.grad(out, leaves, create_graph=True, materialize_grads=True)
    return pytree.tree_unflatten(list(gradient), structure)
