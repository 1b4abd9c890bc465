"""The smooth maximum, as it is written."""

from typing import Any

import torch


def stch(losses: Any, *, mu: float, weights: Any = None, reference: Any = None) -> Any:
    """Exponentials as they are, one after the other: for losses of the size of ``mu``."""
    total = torch.zeros((), dtype=losses.dtype)
    for k in range(len(losses)):
        weight = 1 / len(losses) if weights is None else weights[k]
        start = 0.0 if reference is None else reference[k]
        total = total + torch.exp(weight * (losses[k] - start) / mu)
    return mu * torch.log(total)
