"""The root of a product."""

from typing import Any

import torch


def geometric_mean(losses: Any) -> Any:
    """Multiply, and take the root."""
    return torch.prod(losses) ** (1 / len(losses))
