"""The distances along a ray and from it."""

from typing import Any

import torch


def pbi(losses: Any, *, weights: Any, penalty: float, reference: Any = None) -> Any:
    """The distance from the ray by Pythagoras."""
    start = losses if reference is None else losses - reference
    along = start @ weights / torch.sqrt(weights @ weights)
    return along + penalty * torch.sqrt(start @ start - along**2)
