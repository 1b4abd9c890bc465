"""The best fit to targets, by a dense least-squares solve."""

from typing import Any

import torch

from torch_ref.inr._even_field import frequencies
from torch_ref.inr._psnr import psnr


def ceiling(targets: Any, *, shape: tuple[int, int], match: str = "gradient") -> torch.Tensor:
    """Write every product of two waves, but the constant, as a column, and solve for all of them at once."""
    points, values, gradients, laplacians = targets
    x, y = (_terms(points[:, axis], shape[1 - axis]) for axis in (0, 1))

    def columns(along_x: int, along_y: int) -> torch.Tensor:
        products = y[along_y][:, :, None] * x[along_x][:, None, :]
        return products.reshape(len(points), -1)[:, 1:]

    if match == "gradient":
        design = torch.cat([columns(1, 0), columns(0, 1)])
        wanted = torch.cat([gradients[..., 0], gradients[..., 1]])
    else:
        design, wanted = columns(2, 0) + columns(0, 2), laplacians
    amplitudes = torch.linalg.lstsq(design, wanted).solution
    return psnr(columns(0, 0) @ amplitudes, values, align="mean")


def _terms(coordinate: torch.Tensor, size: int) -> list[torch.Tensor]:
    """Return the cosines along an axis at every point, and their first and second derivatives, a column each."""
    spacing = ((coordinate.max() - coordinate.min()) / (size - 1)).item()
    waves = frequencies(size, spacing, coordinate)
    angles = (coordinate[:, None] - coordinate.min() + spacing / 2) * waves
    return [torch.cos(angles), -waves * torch.sin(angles), -(waves**2) * torch.cos(angles)]
