"""One step of gradient descent on new tensors."""

from typing import Any

from torch.utils import _pytree as pytree

from torch_ref.gradient._parameter_gradient import parameter_gradient, track


def descent_step(loss_fn: Any, params: Any, *data: Any, learning_rate: Any) -> Any:
    """Subtract the scaled gradient leaf by leaf; the graph is kept."""
    params = track(params)
    leaves, structure = pytree.tree_flatten(params)
    slopes = pytree.tree_leaves(parameter_gradient(loss_fn, params, *data))
    moved = [leaf - learning_rate * slope for leaf, slope in zip(leaves, slopes, strict=True)]
    return pytree.tree_unflatten(moved, structure)
