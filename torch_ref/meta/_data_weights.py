"""The derivative of the loss after training by the weights of the examples, by a loop over steps and examples."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.meta._adapt import call


def take(data: Any, index: int) -> Any:
    """Return one example."""
    return pytree.tree_map(lambda leaf: leaf[index], data)


def trained(loss_fn: Any, params: Any, examples: Any, indices: Any, weights: Any, optimizer: Any) -> Any:
    """Step through the rows of ``indices``, one example after the other, keeping the graph."""
    leaves, structure = pytree.tree_flatten(params)
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    state = optimizer.init(leaves)
    for row in indices:
        places = [int(i) for i in row if i >= 0]
        fast = pytree.tree_unflatten(leaves, structure)
        terms = [weights[i] * call(loss_fn, fast, take(examples, i)) for i in places]
        objective = sum(terms) / len(terms) if terms else 0 * sum(leaf.sum() for leaf in leaves)
        gradients = torch.autograd.grad(objective, leaves, create_graph=True, materialize_grads=True)
        updates, state = optimizer.update(list(gradients), state)
        leaves = [leaf + update for leaf, update in zip(leaves, updates, strict=True)]
    return pytree.tree_unflatten(leaves, structure)


def judged(loss_fn: Any, params: Any, validation: Any, validation_loss: Any) -> torch.Tensor:
    """Return the validation loss, the mean over examples where no other is given."""
    if validation_loss is not None:
        return call(validation_loss, params, validation)
    count = len(pytree.tree_leaves(validation)[0])
    return sum(call(loss_fn, params, take(validation, i)) for i in range(count)) / count


def data_weights_gradient(
    loss_fn: Any,
    params: Any,
    examples: Any,
    indices: Any,
    validation: Any,
    *,
    optimizer: Any,
    validation_loss: Any = None,
    weights: Any = None,
) -> torch.Tensor:
    """Go back through all of it at once."""
    count = len(pytree.tree_leaves(examples)[0])
    weights = (torch.ones(count, dtype=torch.float64) if weights is None else weights.detach()).requires_grad_()
    after = trained(loss_fn, params, examples, indices, weights, optimizer)
    value = judged(loss_fn, after, validation, validation_loss)
    return torch.autograd.grad(value, weights, materialize_grads=True)[0]
