"""Random shifts of parameters. The numbers are torch's own: the distribution is what both sides share."""

from typing import Any

import torch
from torch.utils import _pytree as pytree


def random_shifts(
    params: Any, *, generator: torch.Generator, num_shifts: int, distribution: str = "normal", scale: float = 1.0
) -> Any:
    """Draw one shift after the other for every leaf."""

    def draw(leaf: torch.Tensor) -> torch.Tensor:
        if distribution == "normal":
            return scale * torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype)
        return scale * (2 * torch.rand(leaf.shape, generator=generator, dtype=leaf.dtype) - 1)

    return pytree.tree_map(lambda leaf: torch.stack([draw(leaf) for _ in range(num_shifts)]), params)
