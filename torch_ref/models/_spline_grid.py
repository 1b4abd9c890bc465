"""A field on cubic B-splines at several resolutions as a plain torch module, by loops over levels and corners."""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def gelu(x: Any) -> Any:
    """Return GELU in the form by tanh, which is Flax's."""
    return torch.nn.functional.gelu(x, approximate="tanh")


class SplineGrid(nn.Module):
    """A small network on cubic splines at several resolutions, even about the edges of its domain."""

    def __init__(
        self,
        sizes: tuple[int, ...],
        levels: int = 10,
        features: int = 4,
        coarsest: int = 3,
        finest: int = 256,
        edge: Any = 1.0,
        activation: Callable[[Any], Any] = gelu,
    ) -> None:
        """Draw the entries from ``[-1e-2, 1e-2]`` and the weights as Glorot and Bengio do."""
        super().__init__()
        self.activation = activation
        self.edges = torch.as_tensor(edge, dtype=torch.float64).expand(sizes[0])
        growth = (finest / coarsest) ** (1 / max(levels - 1, 1))
        self.cells = [round(coarsest * growth**level) for level in range(levels)]
        rows = [(n + 1) ** sizes[0] for n in self.cells]
        self.starts = [sum(rows[:level]) for level in range(levels)]
        self.entries = nn.Parameter(torch.empty(sum(rows), features).uniform_(-1e-2, 1e-2))
        inner = (levels * features, *sizes[1:])
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(inner))
        self.straight = nn.Linear(inner[0], sizes[-1], bias=False)
        for layer in (*self.layers, self.straight):
            nn.init.xavier_uniform_(layer.weight)
        for layer in self.layers:
            nn.init.zeros_(layer.bias)

    def forward(self, x: Any) -> Any:
        """Apply the network to points of shape ``(..., sizes[0])``."""
        features = torch.cat([self.features(x, level) for level in range(len(self.cells))], -1)
        x = features
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x) + self.straight(features)

    def features(self, x: Any, level: int) -> Any:
        """Return one level's features: every vertex within two cells, times a B-spline of its distance."""
        n, d = self.cells[level], x.shape[-1]
        position = (x / self.edges.to(x) + 1) / 2 * n
        cell = torch.floor(position.detach()).long()
        total = 0.0
        for corner in itertools.product((-1, 0, 1, 2), repeat=d):
            vertex = cell + torch.tensor(corner)
            weight = torch.prod(b_spline(position - vertex), -1)
            total = total + weight.unsqueeze(-1) * self.entries[self.row(vertex, n) + self.starts[level]]
        return total

    def row(self, vertex: Any, n: int) -> Any:
        """Return the entry of a vertex; beyond an edge, of the one that it mirrors, there and back."""
        vertex = vertex % (2 * n)
        vertex = torch.where(vertex > n, 2 * n - vertex, vertex)
        return sum(vertex[..., k] * (n + 1) ** k for k in range(vertex.shape[-1]))


def b_spline(x: Any) -> Any:
    """Return the cubic B-spline at a distance: a sum of truncated powers."""
    powers = ((1, 2.0), (-4, 1.0), (6, 0.0), (-4, -1.0), (1, -2.0))
    return sum(factor * torch.relu(x + shift) ** 3 for factor, shift in powers) / 6
