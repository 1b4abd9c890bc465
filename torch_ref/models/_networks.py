"""The networks of ``jaxgrad.models`` as plain torch modules; images lie as (batch, channels, height, width)."""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class SquaredInputNet(nn.Module):
    """``out(relu(mlp(x**2)))``, a hidden layer on squared inputs."""

    def __init__(self, in_features: int = 2, hidden: int = 5, out_features: int = 1) -> None:
        """Draw the weights."""
        super().__init__()
        self.mlp = nn.Linear(in_features, hidden)
        self.out = nn.Linear(hidden, out_features)

    def forward(self, x: Any) -> Any:
        """Apply the network to inputs of shape ``(..., in)``."""
        return self.out(torch.relu(self.mlp(x**2)))


class MLP(nn.Module):
    """Linear layers of the given sizes, the input's first, with an activation between them."""

    def __init__(self, sizes: tuple[int, ...], activation: Callable[[Any], Any] = torch.tanh) -> None:
        """Draw the weights."""
        super().__init__()
        self.activation = activation
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, x: Any) -> Any:
        """Apply the network to inputs of shape ``(..., sizes[0])``."""
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


class GroupNormCNN(nn.Module):
    """Two convolutions with group normalisation, the second of stride 2, and a linear head."""

    def __init__(
        self,
        image: tuple[int, int, int] = (8, 8, 1),
        channels: tuple[int, int] = (8, 16),
        groups: int = 4,
        num_classes: int = 10,
    ) -> None:
        """Draw the weights, for images of shape (height, width, channels)."""
        super().__init__()
        self.conv1 = nn.Conv2d(image[2], channels[0], 3, padding=1)
        self.norm1 = nn.GroupNorm(groups, channels[0])
        self.conv2 = nn.Conv2d(channels[0], channels[1], 3, stride=2, padding=1)
        self.norm2 = nn.GroupNorm(groups, channels[1])
        self.head = nn.Linear(_halved(image) * channels[1], num_classes)

    def forward(self, x: Any) -> Any:
        """Apply the network to images."""
        x = torch.relu(self.norm1(self.conv1(x)))
        x = torch.relu(self.norm2(self.conv2(x)))
        return self.head(x.flatten(1))


class BatchNormCNN(nn.Module):
    """The same network with batch normalisation."""

    def __init__(
        self,
        image: tuple[int, int, int] = (8, 8, 1),
        channels: tuple[int, int] = (8, 16),
        num_classes: int = 10,
    ) -> None:
        """Draw the weights, for images of shape (height, width, channels)."""
        super().__init__()
        self.conv1 = nn.Conv2d(image[2], channels[0], 3, padding=1)
        self.norm1 = nn.BatchNorm2d(channels[0])
        self.conv2 = nn.Conv2d(channels[0], channels[1], 3, stride=2, padding=1)
        self.norm2 = nn.BatchNorm2d(channels[1])
        self.head = nn.Linear(_halved(image) * channels[1], num_classes)

    def forward(self, x: Any) -> Any:
        """Apply the network to images."""
        x = torch.relu(self.norm1(self.conv1(x)))
        x = torch.relu(self.norm2(self.conv2(x)))
        return self.head(x.flatten(1))


class EncoderBlock(nn.Module):
    """Self-attention and a two-layer network, each on normalised inputs and added to them."""

    def __init__(self, width: int, heads: int) -> None:
        """Draw the weights."""
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Any) -> Any:
        """Apply the block to sequences of shape ``(..., length, width)``."""
        h = self.norm1(x)
        # asking for the weights takes the written-out attention: the fused one has no second derivative
        x = x + self.attention(h, h, h, need_weights=True)[0]
        return x + self.fc2(nn.functional.gelu(self.fc1(self.norm2(x))))


class TransformerEncoder(nn.Module):
    """Token and position embeddings, encoder blocks, and a linear head on the mean over the sequence."""

    def __init__(
        self, vocabulary: int, length: int, width: int = 8, heads: int = 2, depth: int = 2, num_classes: int = 3
    ) -> None:
        """Draw the weights."""
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(0.02 * torch.randn(length, width))
        self.blocks = nn.ModuleList(EncoderBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, tokens: Any) -> Any:
        """Apply the network to whole numbers of shape ``(..., length)``."""
        x = self.embedding(tokens) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(-2))


def _halved(image: tuple[int, int, int]) -> int:
    """Return the number of pixels after a convolution of stride 2 that is padded by 1."""
    return ((image[0] + 1) // 2) * ((image[1] + 1) // 2)
