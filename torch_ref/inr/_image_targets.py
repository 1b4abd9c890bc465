"""The targets of a picture, pixel by pixel."""

import torch


def image_targets(
    image: torch.Tensor, *, method: str = "central", channels: int | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Visit every pixel in a loop."""
    image = image if image.ndim == 3 else image[..., None]
    assert channels in (None, image.shape[-1])
    height, width, _ = image.shape
    points, values, gradients = [], [], []
    for i in range(height):
        for j in range(width):
            points.append(torch.tensor([2 * j / (width - 1) - 1, 2 * i / (height - 1) - 1], dtype=image.dtype))
            values.append(image[i, j])
            gradients.append(torch.stack([_by_x(image, i, j, method), _by_y(image, i, j, method)], dim=-1))
    return torch.stack(points), torch.stack(values), torch.stack(gradients)


def _by_x(image: torch.Tensor, i: int, j: int, method: str) -> torch.Tensor:
    """Differentiate along a row, by the one or two neighbours that there are."""
    if method == "sobel":
        rows = [min(max(i + k, 0), image.shape[0] - 1) for k in (-1, 0, 1)]
        above, here, below = (_by_x(image, row, j, "central") for row in rows)
        return (above + 2 * here + below) / 4
    left, right = max(j - 1, 0), min(j + 1, image.shape[1] - 1)
    return (image[i, right] - image[i, left]) / ((right - left) * 2 / (image.shape[1] - 1))


def _by_y(image: torch.Tensor, i: int, j: int, method: str) -> torch.Tensor:
    """Differentiate along a column: along a row of the transposed picture."""
    return _by_x(image.transpose(0, 1), j, i, method)
