"""The multi-resolution hash grid as a plain torch module: a loop over levels and a loop over corners."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

PRIMES = (1, 2654435761, 805459861)
RADIUS = 1.125


class HashGrid(nn.Module):
    """A small network on features that a grid of several resolutions holds (Müller et al. 2022)."""

    def __init__(
        self,
        sizes: tuple[int, ...],
        levels: int = 12,
        features: int = 2,
        table_size: int = 2**14,
        coarsest: int = 8,
        finest: int = 256,
        activation: Callable[[Any], Any] = torch.relu,
    ) -> None:
        """Draw the entries from ``[-1e-4, 1e-4]`` and the weights as Glorot and Bengio do."""
        super().__init__()
        self.table_size, self.activation = table_size, activation
        growth = (finest / coarsest) ** (1 / max(levels - 1, 1))
        # rounded to 9 places before the floor: the last level has as many cells as it says
        self.cells = [math.floor(round(coarsest * growth**level, 9)) for level in range(levels)]
        rows = [min(table_size, self.vertices(level) ** sizes[0]) for level in range(levels)]
        self.starts = [sum(rows[:level]) for level in range(levels)]
        self.entries = nn.Parameter(torch.empty(sum(rows), features).uniform_(-1e-4, 1e-4))
        pairs = itertools.pairwise((levels * features, *sizes[1:]))
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairs)
        for layer in self.layers:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def vertices(self, level: int) -> int:
        """Return how many vertices a level has along an axis."""
        return math.floor(RADIUS * self.cells[level] + 0.5) + 2

    def forward(self, x: Any) -> Any:
        """Apply the network to points of shape ``(..., sizes[0])``."""
        x = torch.cat([self.features(x, level) for level in range(len(self.cells))], -1)
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)

    def features(self, x: Any, level: int) -> Any:
        """Return one level's features: those of the corners, each times its share."""
        # a point that is not in the grid has no slope; one at the end has
        x = torch.where(x.abs() <= RADIUS, x, x.detach().clamp(-RADIUS, RADIUS))
        position = (x + RADIUS) * self.cells[level] / 2 + 0.5
        cell = torch.floor(position.detach())
        t = position - cell
        share = 3 * t**2 - 2 * t**3
        total = 0.0
        for corner in itertools.product((0, 1), repeat=x.shape[-1]):
            row = self.row(cell.long() + torch.tensor(corner), level)
            weight = torch.ones_like(share[..., 0])
            for axis, bit in enumerate(corner):
                weight = weight * (share[..., axis] if bit else 1 - share[..., axis])
            total = total + weight.unsqueeze(-1) * self.entries[row]
        return total

    def row(self, vertex: Any, level: int) -> Any:
        """Return the entry of a vertex."""
        n, d = self.vertices(level), vertex.shape[-1]
        if n**d <= self.table_size:
            inside = sum(vertex[..., k] * n**k for k in range(d))
        else:
            inside = torch.zeros_like(vertex[..., 0])
            for k in range(d):
                inside = inside ^ ((vertex[..., k] * PRIMES[k]) & 0xFFFFFFFF)
            inside = inside % self.table_size
        return self.starts[level] + inside
