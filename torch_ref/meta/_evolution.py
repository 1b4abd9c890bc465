"""Persistent evolution strategies, one trajectory after the other."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.meta._adapt import adapt, call


def evolution_gradient(
    inner_loss: Any,
    outer_loss: Any,
    params: Any,
    hyper: Any,
    inner_data: Any,
    outer_data: Any,
    *,
    optimizer: Any,
    num_steps: int,
    scale: float,
    samples: list[Any],
) -> list[Any]:
    """Return the estimate of every window of one training; ``samples`` holds the shifts of every window.

    Every trajectory starts from ``params`` and takes its windows one after the other; the optimizer has no state.
    """
    leaves, structure = pytree.tree_flatten(hyper)
    pairs = len(pytree.tree_leaves(samples[0])[0])
    estimates = [[torch.zeros_like(leaf) for leaf in leaves] for _ in samples]
    for i in range(pairs):
        total = [torch.zeros_like(leaf) for leaf in leaves]
        ends = {1.0: params, -1.0: params}
        for t, window in enumerate(samples):
            shift = [leaf[i] for leaf in pytree.tree_leaves(window)]
            total = [a + s for a, s in zip(total, shift, strict=True)]
            values = {}
            for sign in ends:
                moved = pytree.tree_unflatten([h + sign * s for h, s in zip(leaves, shift, strict=True)], structure)

                def inner(fast: Any, *data: Any, moved: Any = moved) -> Any:
                    return inner_loss(fast, moved, *data)

                after = adapt(inner, ends[sign], inner_data, optimizer=optimizer, num_steps=num_steps)
                ends[sign] = pytree.tree_map(lambda leaf: leaf.detach(), after)
                values[sign] = call(lambda fast, *data, moved=moved: outer_loss(fast, moved, *data), after, outer_data)
            slope = (values[1.0] - values[-1.0]).item() / (2 * scale**2 * pairs)
            estimates[t] = [e + slope * a for e, a in zip(estimates[t], total, strict=True)]
    return [pytree.tree_unflatten(estimate, structure) for estimate in estimates]
