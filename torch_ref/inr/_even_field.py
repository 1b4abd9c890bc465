"""Pictures as fields of the plane that go on as their mirror images, by dense systems."""

import math
from collections.abc import Callable

import torch

Field = Callable[[torch.Tensor], torch.Tensor]


def even_field(image: torch.Tensor, method: str) -> Field:
    """Return the field through all pixels: solve for its weights along each axis, then sum over all of them."""
    height, width, _ = image.shape
    terms = {"spectral": waves, "spline": splines}[method]
    rows = terms(pixels(height, image), height)
    columns = terms(pixels(width, image), width)
    weights = torch.linalg.solve(rows, image.reshape(height, -1)).reshape(image.shape)
    weights = torch.linalg.solve(columns, weights.transpose(0, 1).reshape(width, -1)).reshape(width, height, -1)

    def field(points: torch.Tensor) -> torch.Tensor:
        return torch.einsum("nw,nh,whc->nc", terms(points[:, 0], width), terms(points[:, 1], height), weights)

    return field


def pixels(size: int, like: torch.Tensor) -> torch.Tensor:
    """Return the coordinates of the pixels' centres along an axis, in the dtype and on the device of ``like``."""
    return like.new_tensor([2 * i / (size - 1) - 1 for i in range(size)])


def frequencies(size: int, spacing: float, like: torch.Tensor) -> torch.Tensor:
    """Return the angular frequencies of the waves from edge to edge."""
    return like.new_tensor([math.pi * k / (size * spacing) for k in range(size)])


def waves(x: torch.Tensor, size: int) -> torch.Tensor:
    """Return the cosines along an axis, a column each; the first edge lies half a pixel before -1."""
    spacing = 2 / (size - 1)
    return torch.cos((x[:, None] + 1 + spacing / 2) * frequencies(size, spacing, x))


def splines(x: torch.Tensor, size: int) -> torch.Tensor:
    """Return the B-splines along an axis, a column each, every one with its mirror images up to two periods away."""
    place = (x + 1) * (size - 1) / 2
    columns = []
    for j in range(size):
        centres = [c + 2 * size * period for period in range(-2, 3) for c in (j, -1 - j)]
        columns.append(sum(_bump(place - centre) for centre in centres))
    return torch.stack(columns, dim=1)


def _bump(x: torch.Tensor) -> torch.Tensor:
    """Return the cubic B-spline at a distance of either sign, in pixels; the square is that of the number itself.

    By its absolute value autograd would lose the second derivative at 0.
    """
    d = x.abs()
    near, far = 2 / 3 - x**2 + d**3 / 2, (2 - d) ** 3 / 6
    return torch.where(d < 1, near, torch.where(d < 2, far, torch.zeros_like(d)))
