"""The weighted sum less the cosine."""

from typing import Any

import torch


def cosmos(losses: Any, *, weights: Any, penalty: float) -> Any:
    """By torch's own cosine."""
    return weights @ losses - penalty * torch.nn.functional.cosine_similarity(weights, losses, dim=0, eps=0.0)
