"""The sine."""

import torch


def sine(x: torch.Tensor) -> torch.Tensor:
    """Return torch's sine."""
    return torch.sin(x)
