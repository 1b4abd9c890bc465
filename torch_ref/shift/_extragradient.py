"""The gradient where a descent step would lead."""

from typing import Any

from torch.utils import _pytree as pytree

from torch_ref.shift._gradient import gradient


def extragradient(loss_fn: Any, params: Any, *data: Any, learning_rate: float) -> Any:
    """Take a step down the gradient, and the gradient there."""
    step = pytree.tree_map(lambda g: -learning_rate * g, gradient(loss_fn, params, None, *data))
    return gradient(loss_fn, params, step, *data)


def value_and_extragradient(loss_fn: Any, params: Any, *data: Any, learning_rate: float) -> Any:
    """Return the loss at the weights as they are, evaluated apart, and the gradient."""
    return loss_fn(params, *data), extragradient(loss_fn, params, *data, learning_rate=learning_rate)
