"""From the start towards the adapted parameters, one task after the other."""

from typing import Any

from torch.utils import _pytree as pytree

from torch_ref.meta._adapt import adapt, task_of


def reptile_gradient(loss_fn: Any, params: Any, support: Any, *, optimizer: Any, num_steps: int, **options: Any) -> Any:
    """Take the mean of the adapted parameters, and subtract it from the start."""
    num_tasks = len(pytree.tree_leaves(support)[0])
    inner = {"optimizer": optimizer, "num_steps": num_steps, **options}
    ends = [pytree.tree_leaves(adapt(loss_fn, params, task_of(support, t), **inner)) for t in range(num_tasks)]
    leaves, structure = pytree.tree_flatten(params)
    means = [sum(column).detach() / num_tasks for column in zip(*ends, strict=True)]
    return pytree.tree_unflatten([leaf - mean for leaf, mean in zip(leaves, means, strict=True)], structure)
