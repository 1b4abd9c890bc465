"""The mean projected onto the dual cone of all rows."""

from typing import Any

import torch

from torch_ref.multi_loss._upgrad import lowest_above


def dual_projection(gram: Any, *, preferences: Any = None) -> Any:
    """Return the weights, none below the preferences, of the shortest vector."""
    count = len(gram)
    return lowest_above(gram, torch.full((count,), 1 / count, dtype=gram.dtype) if preferences is None else preferences)
