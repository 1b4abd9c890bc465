"""The gradient of the loss after adaptation, one task after the other."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.meta._adapt import evaluate, steps, task_of


def meta_loss(
    loss_fn: Any,
    params: Any,
    support: Any,
    query: Any,
    *,
    step_weights: Any = None,
    has_aux: bool = False,
    **inner: Any,
) -> torch.Tensor:
    """Return the mean over tasks of the query's loss, at the end or weighed over the steps, with its graph."""
    train = inner.get("statistics") == "transductive"
    num_tasks = len(pytree.tree_leaves(query)[0])
    losses = []
    for t in range(num_tasks):
        after = steps(loss_fn, params, task_of(support, t), has_aux=has_aux, **inner)
        points = [(after.params, after.state)] if step_weights is None else after.trail
        for (fast, now), weight in zip(points, [1.0] if step_weights is None else step_weights, strict=True):
            losses.append(weight * evaluate(loss_fn, fast, task_of(query, t), now, train, has_aux)[0])
    return sum(losses) / num_tasks


def value_and_maml_gradient(
    loss_fn: Any, params: Any, support: Any, query: Any, *, optimizer: Any, num_steps: int, **options: Any
) -> tuple[torch.Tensor, Any]:
    """Add up the losses at the fast weights of every task, and go back through all of it at once.

    ``wrt`` and ``inner_wrt`` list which leaves count, in tree order.
    """
    wrt, inner_wrt = options.pop("wrt", None), options.pop("inner_wrt", None)
    leaves, structure = pytree.tree_flatten(params)
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    start = pytree.tree_unflatten(leaves, structure)
    inner = {"optimizer": optimizer, "num_steps": num_steps, "wrt": inner_wrt, **options}
    value = meta_loss(loss_fn, start, support, query, **inner)
    gradients = torch.autograd.grad(value, leaves, materialize_grads=True)
    kept = [True] * len(leaves) if wrt is None else wrt
    return value.detach(), pytree.tree_unflatten(
        [g if keep else torch.zeros_like(g) for g, keep in zip(gradients, kept, strict=True)], structure
    )


def maml_gradient(
    loss_fn: Any, params: Any, support: Any, query: Any, *, optimizer: Any, num_steps: int, **options: Any
) -> Any:
    """Drop the value."""
    inner = {"optimizer": optimizer, "num_steps": num_steps, **options}
    return value_and_maml_gradient(loss_fn, params, support, query, **inner)[1]
