"""The targets of a picture, pixel by pixel."""

import torch

from torch_ref.inr._even_field import frequencies, pixels
from torch_ref.inr._targets_at import targets_at


def image_targets(
    image: torch.Tensor, *, method: str = "central", channels: int | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Visit every pixel in a loop; differentiate the field there, or take differences."""
    image = image if image.ndim == 3 else image[..., None]
    assert channels in (None, image.shape[-1])
    height, width, _ = image.shape
    points = torch.stack([torch.stack([x, y]) for y in pixels(height, image) for x in pixels(width, image)])
    if method in ("spectral", "spline"):
        return targets_at(image, points, method=method)
    values, gradients = [], []
    for i in range(height):
        for j in range(width):
            values.append(image[i, j])
            gradients.append(torch.stack([_by_x(image, i, j, method), _by_y(image, i, j, method)], dim=-1))
    slopes = torch.stack(gradients)
    by_x, by_y = slopes.reshape(height, width, -1, 2).unbind(-1)
    laplacians = torch.einsum("vw,hwc->hvc", _slope_of_odd(width, image), by_x)
    laplacians = laplacians + torch.einsum("gh,hwc->gwc", _slope_of_odd(height, image), by_y)
    return points, torch.stack(values), slopes, laplacians.reshape(len(points), -1)


def _by_x(image: torch.Tensor, i: int, j: int, method: str) -> torch.Tensor:
    """Differentiate along a row, by the two neighbours; an outer pixel is its own mirror image."""
    if method == "sobel":
        rows = [min(max(i + k, 0), image.shape[0] - 1) for k in (-1, 0, 1)]
        above, here, below = (_by_x(image, row, j, "central") for row in rows)
        return (above + 2 * here + below) / 4
    left, right = max(j - 1, 0), min(j + 1, image.shape[1] - 1)
    return (image[i, right] - image[i, left]) / (2 * 2 / (image.shape[1] - 1))


def _by_y(image: torch.Tensor, i: int, j: int, method: str) -> torch.Tensor:
    """Differentiate along a column: along a row of the transposed picture."""
    return _by_x(image.transpose(0, 1), j, i, method)


def _slope_of_odd(size: int, like: torch.Tensor) -> torch.Tensor:
    """Return the matrix that takes samples of a sum of sines to its derivative: solve for the sum, differentiate it.

    The last sine, which alternates from pixel to pixel, is among them, and its derivative at the pixels is zero.
    """
    step = 2 / (size - 1)
    waves = torch.cat([frequencies(size, step, like)[1:], like.new_tensor([torch.pi / step])])
    angles = (pixels(size, like)[:, None] + 1 + step / 2) * waves
    return torch.linalg.solve(torch.sin(angles).T, (waves * torch.cos(angles)).T).T
