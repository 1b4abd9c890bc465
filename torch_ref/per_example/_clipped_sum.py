"""The sum of clipped per-example gradients, by a loop."""

from typing import Any, NamedTuple

import torch
from torch.utils import _pytree as pytree

from torch_ref.per_example._gradients import examples, value_and_grad
from torch_ref.per_example._norms import global_norm


class ClippedInfo(NamedTuple):
    """Losses and norms of the examples, the fraction clipped, and the sensitivity of the sum."""

    losses: Any
    norms: Any
    fraction_clipped: Any
    sensitivity: Any


def clipped_sum(loss_fn: Any, params: Any, *batch: Any, clip_norm: float) -> Any:
    """Scale each gradient to a norm of at most ``clip_norm``, and add it to the total."""
    total = pytree.tree_map(torch.zeros_like, params)
    losses, norms, clipped = [], [], []
    for example in examples(batch):
        loss, gradient = value_and_grad(loss_fn, params, example)
        norm = global_norm(gradient)
        scale = clip_norm / norm if norm > clip_norm else torch.ones_like(norm)
        total = pytree.tree_map(lambda t, g, s=scale: t + s * g, total, gradient)
        losses.append(loss)
        norms.append(norm)
        clipped.append(norm > clip_norm)
    norms = torch.stack(norms)
    fraction = torch.stack(clipped).to(norms.dtype).mean()
    return total, ClippedInfo(torch.stack(losses), norms, fraction, torch.as_tensor(clip_norm, dtype=norms.dtype))
