"""The gradient of the loss after adaptation, by the start and by the learning rates of the steps."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.meta._maml import meta_loss
from torch_ref.meta._optimizers import sgd


def value_and_meta_sgd_gradient(
    loss_fn: Any,
    params: Any,
    learning_rates: Any,
    support: Any,
    query: Any,
    *,
    num_steps: int,
    optimizer: Any = None,
    **options: Any,
) -> tuple[torch.Tensor, tuple[Any, Any]]:
    """Make leaves of both trees, and go back to both at once."""
    leaves, structure = pytree.tree_flatten((params, learning_rates))
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    start, rates = pytree.tree_unflatten(leaves, structure)
    inner = {"optimizer": optimizer or sgd(1.0), "num_steps": num_steps, **options}
    value = meta_loss(loss_fn, start, support, query, learning_rates=rates, **inner)
    gradients = torch.autograd.grad(value, leaves, materialize_grads=True)
    return value.detach(), pytree.tree_unflatten(list(gradients), structure)


def meta_sgd_gradient(
    loss_fn: Any, params: Any, learning_rates: Any, support: Any, query: Any, *, num_steps: int, **options: Any
) -> tuple[Any, Any]:
    """Drop the value."""
    given = loss_fn, params, learning_rates, support, query
    return value_and_meta_sgd_gradient(*given, num_steps=num_steps, **options)[1]
