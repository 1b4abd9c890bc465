"""The targets of a picture, cell by cell of a finer grid."""

import torch

from torch_ref.inr._targets_at import targets_at


def refined_targets(
    image: torch.Tensor, *, factor: int = 4, method: str = "spectral", channels: int | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Visit every cell of every row, and sum the whole field there."""
    height, width = image.shape[:2]
    points = [
        ((2 * j + 1 - factor) / factor / (width - 1) - 1, (2 * i + 1 - factor) / factor / (height - 1) - 1)
        for i in range(factor * height)
        for j in range(factor * width)
    ]
    return targets_at(image, image.new_tensor(points), method=method, channels=channels)
