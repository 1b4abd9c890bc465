"""Points of a picture, one after the other; the numbers are torch's, so that laws are compared and not draws."""

import itertools
from typing import Any

import torch


def sample_points(
    key: int, count: int, *, method: str, shape: tuple[int, ...], dtype: Any = torch.float64
) -> torch.Tensor:
    """Place each point in its pixel by hand; numbers are drawn on the CPU, the same for any device."""
    drawn: Any = {"generator": torch.Generator().manual_seed(key), "device": "cpu"}
    pixels = [tuple(reversed(pixel)) for pixel in itertools.product(*map(range, shape))]
    sizes = shape[::-1]
    if method == "grid":
        order = range(count) if count == len(pixels) else torch.randperm(len(pixels), **drawn)[:count]
        places = [[i + 0.5 for i in pixels[j]] for j in order]
    elif method == "jittered":
        order = [j for _ in range(count // len(pixels)) for j in range(len(pixels))]
        order += torch.randperm(len(pixels), **drawn)[: count % len(pixels)].tolist()
        places = [[i + torch.rand((), **drawn).item() for i in pixels[j]] for j in order]
    elif method == "uniform":
        places = [[n * torch.rand((), **drawn).item() for n in sizes] for _ in range(count)]
    else:
        draws = torch.quasirandom.SobolEngine(len(sizes)).draw(count, dtype=torch.float64)
        moved = (draws + torch.rand(len(sizes), **drawn, dtype=torch.float64)) % 1
        places = [[n * u for n, u in zip(sizes, row, strict=True)] for row in moved.tolist()]
    points = [[(2 * place - 1) / (n - 1) - 1 for place, n in zip(row, sizes, strict=True)] for row in places]
    return torch.tensor(points, dtype=dtype)
