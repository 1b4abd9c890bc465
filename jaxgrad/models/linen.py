"""The networks that we ship, as Flax linen modules.

Their layers carry the names, epsilons, paddings and forms of GELU of the twins in ``torch_ref.models``, so a mapping
is found by name and values agree. Images lie as (batch, height, width, channels).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgrad._types import Array
from jaxgrad.models._fields_linen import Finer as Finer
from jaxgrad.models._fields_linen import FourierFeatures as FourierFeatures
from jaxgrad.models._fields_linen import GaussianField as GaussianField
from jaxgrad.models._fields_linen import PositionalReLU as PositionalReLU
from jaxgrad.models._fields_linen import Siren as Siren
from jaxgrad.models._fields_linen import Staf as Staf
from jaxgrad.models._fields_linen import Wire as Wire
from jaxgrad.models._grids_linen import HashGrid as HashGrid
from jaxgrad.models._grids_linen import SplineGrid as SplineGrid

__all__ = [
    "MLP",
    "BatchNormCNN",
    "Finer",
    "FourierFeatures",
    "GaussianField",
    "GroupNormCNN",
    "HashGrid",
    "PositionalReLU",
    "Siren",
    "SplineGrid",
    "SquaredInputNet",
    "Staf",
    "TransformerEncoder",
    "Wire",
]


class SquaredInputNet(nn.Module):
    """``out(relu(mlp(x**2)))``, a hidden layer on squared inputs."""

    hidden: int = 5
    out_features: int = 1
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        """Name the layers as torch does."""
        self.mlp = nn.Dense(self.hidden, param_dtype=self.param_dtype)
        self.out = nn.Dense(self.out_features, param_dtype=self.param_dtype)

    def __call__(self, x: Array) -> Array:
        """Apply the network to inputs of shape ``(..., in)``."""
        return self.out(nn.relu(self.mlp(x**2)))


class MLP(nn.Module):
    """Dense layers of the given sizes, the input's first, with an activation between them."""

    sizes: tuple[int, ...]
    activation: Callable[[Array], Array] = jnp.tanh
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        """Name the layers as torch does."""
        self.layers = [nn.Dense(size, param_dtype=self.param_dtype) for size in self.sizes[1:]]

    def __call__(self, x: Array) -> Array:
        """Apply the network to inputs of shape ``(..., sizes[0])``."""
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


class GroupNormCNN(nn.Module):
    """Two convolutions with group normalisation, the second of stride 2, and a linear head."""

    channels: tuple[int, int] = (8, 16)
    groups: int = 4
    num_classes: int = 10
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        """Name the layers as torch does, with torch's padding and epsilon."""
        conv = {"kernel_size": (3, 3), "padding": 1, "param_dtype": self.param_dtype}
        norm = {"epsilon": 1e-5, "use_fast_variance": False, "param_dtype": self.param_dtype}
        self.conv1 = nn.Conv(self.channels[0], **conv)
        self.norm1 = nn.GroupNorm(self.groups, **norm)
        self.conv2 = nn.Conv(self.channels[1], strides=(2, 2), **conv)
        self.norm2 = nn.GroupNorm(self.groups, **norm)
        self.head = nn.Dense(self.num_classes, param_dtype=self.param_dtype)

    def __call__(self, x: Array) -> Array:
        """Apply the network to images; the batch axis must be there, since Flax's norm takes the first axis for it."""
        x = nn.relu(self.norm1(self.conv1(x)))
        x = nn.relu(self.norm2(self.conv2(x)))
        return self.head(x.reshape(x.shape[0], -1))


class BatchNormCNN(nn.Module):
    """The same network with batch normalisation."""

    channels: tuple[int, int] = (8, 16)
    num_classes: int = 10
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        """Name the layers as torch does, with torch's padding, epsilon and momentum."""
        conv = {"kernel_size": (3, 3), "padding": 1, "param_dtype": self.param_dtype}
        norm = {"epsilon": 1e-5, "momentum": 0.9, "use_fast_variance": False, "param_dtype": self.param_dtype}
        self.conv1 = nn.Conv(self.channels[0], **conv)
        self.norm1 = nn.BatchNorm(**norm)
        self.conv2 = nn.Conv(self.channels[1], strides=(2, 2), **conv)
        self.norm2 = nn.BatchNorm(**norm)
        self.head = nn.Dense(self.num_classes, param_dtype=self.param_dtype)

    def __call__(self, x: Array, train: bool = False) -> Array:
        """Apply the network to images, with the running statistics unless it is in training."""
        x = nn.relu(self.norm1(self.conv1(x), use_running_average=not train))
        x = nn.relu(self.norm2(self.conv2(x), use_running_average=not train))
        return self.head(x.reshape(*x.shape[:-3], -1))


class EncoderBlock(nn.Module):
    """Self-attention and a two-layer network, each on normalised inputs and added to them."""

    width: int
    heads: int
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        """Name the layers as torch does, with torch's epsilon."""
        norm = {"epsilon": 1e-5, "use_fast_variance": False, "param_dtype": self.param_dtype}
        self.norm1, self.norm2 = nn.LayerNorm(**norm), nn.LayerNorm(**norm)
        self.attention = nn.MultiHeadDotProductAttention(self.heads, param_dtype=self.param_dtype)
        self.fc1 = nn.Dense(4 * self.width, param_dtype=self.param_dtype)
        self.fc2 = nn.Dense(self.width, param_dtype=self.param_dtype)

    def __call__(self, x: Array) -> Array:
        """Apply the block to sequences of shape ``(..., length, width)``."""
        x = x + self.attention(self.norm1(x))
        return x + self.fc2(jax.nn.gelu(self.fc1(self.norm2(x)), approximate=False))


class TransformerEncoder(nn.Module):
    """Token and position embeddings, encoder blocks, and a linear head on the mean over the sequence."""

    vocabulary: int
    length: int
    width: int = 8
    heads: int = 2
    depth: int = 2
    num_classes: int = 3
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        """Name the layers as torch does, with torch's epsilon."""
        self.embedding = nn.Embed(self.vocabulary, self.width, param_dtype=self.param_dtype)
        shape = (self.length, self.width)
        self.positions = self.param("positions", nn.initializers.normal(0.02), shape, self.param_dtype)
        self.blocks = [EncoderBlock(self.width, self.heads, self.param_dtype) for _ in range(self.depth)]
        self.norm = nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, param_dtype=self.param_dtype)
        self.head = nn.Dense(self.num_classes, param_dtype=self.param_dtype)

    def __call__(self, tokens: Array) -> Array:
        """Apply the network to whole numbers of shape ``(..., length)``."""
        x = self.embedding(tokens)
        x = x + jnp.expand_dims(self.positions, tuple(range(x.ndim - 2)))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(-2))
