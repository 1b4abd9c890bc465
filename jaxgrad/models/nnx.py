"""The networks that we ship, as Flax NNX modules.

Their layers carry the names, epsilons, paddings and forms of GELU of the twins in ``torch_ref.models``, so a mapping
is found by name and values agree. Images lie as (batch, height, width, channels).
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxgrad._types import Array
from jaxgrad.models._fields_nnx import Constant as Constant
from jaxgrad.models._fields_nnx import Finer as Finer
from jaxgrad.models._fields_nnx import FourierFeatures as FourierFeatures
from jaxgrad.models._fields_nnx import GaussianField as GaussianField
from jaxgrad.models._fields_nnx import PositionalReLU as PositionalReLU
from jaxgrad.models._fields_nnx import Siren as Siren
from jaxgrad.models._fields_nnx import Staf as Staf
from jaxgrad.models._fields_nnx import Wire as Wire
from jaxgrad.models._grids_nnx import HashGrid as HashGrid
from jaxgrad.models._grids_nnx import SplineGrid as SplineGrid

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


class SquaredInputNet(nnx.Module):
    """``out(relu(mlp(x**2)))``, a hidden layer on squared inputs."""

    def __init__(
        self, in_features: int = 2, hidden: int = 5, out_features: int = 1, *, rngs: nnx.Rngs, **dtypes: Any
    ) -> None:
        """Draw the weights; ``dtypes`` may hold ``param_dtype``."""
        self.mlp = nnx.Linear(in_features, hidden, rngs=rngs, **dtypes)
        self.out = nnx.Linear(hidden, out_features, rngs=rngs, **dtypes)

    def __call__(self, x: Array) -> Array:
        """Apply the network to inputs of shape ``(..., in)``."""
        return self.out(nnx.relu(self.mlp(x**2)))


class MLP(nnx.Module):
    """Dense layers of the given sizes, the input's first, with an activation between them."""

    def __init__(
        self,
        sizes: tuple[int, ...],
        activation: Callable[[Array], Array] = jnp.tanh,
        *,
        rngs: nnx.Rngs,
        **dtypes: Any,
    ) -> None:
        """Draw the weights; ``dtypes`` may hold ``param_dtype``."""
        self.activation = activation
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs, **dtypes) for a, b in itertools.pairwise(sizes)])

    def __call__(self, x: Array) -> Array:
        """Apply the network to inputs of shape ``(..., sizes[0])``."""
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


class GroupNormCNN(nnx.Module):
    """Two convolutions with group normalisation, the second of stride 2, and a linear head."""

    def __init__(
        self,
        image: tuple[int, int, int] = (8, 8, 1),
        channels: tuple[int, int] = (8, 16),
        groups: int = 4,
        num_classes: int = 10,
        *,
        rngs: nnx.Rngs,
        **dtypes: Any,
    ) -> None:
        """Draw the weights, for images of shape (height, width, channels); ``dtypes`` may hold ``param_dtype``."""
        conv = {"kernel_size": (3, 3), "padding": 1, "rngs": rngs, **dtypes}
        norm = {"num_groups": groups, "epsilon": 1e-5, "use_fast_variance": False, "rngs": rngs, **dtypes}
        self.conv1 = nnx.Conv(image[2], channels[0], **conv)
        self.norm1 = nnx.GroupNorm(channels[0], **norm)
        self.conv2 = nnx.Conv(channels[0], channels[1], strides=(2, 2), **conv)
        self.norm2 = nnx.GroupNorm(channels[1], **norm)
        self.head = nnx.Linear(_halved(image) * channels[1], num_classes, rngs=rngs, **dtypes)

    def __call__(self, x: Array) -> Array:
        """Apply the network to images; the batch axis must be there, since Flax's norm takes the first axis for it."""
        x = nnx.relu(self.norm1(self.conv1(x)))
        x = nnx.relu(self.norm2(self.conv2(x)))
        return self.head(x.reshape(x.shape[0], -1))


class BatchNormCNN(nnx.Module):
    """The same network with batch normalisation, whose mode ``train()`` and ``eval()`` set."""

    def __init__(
        self,
        image: tuple[int, int, int] = (8, 8, 1),
        channels: tuple[int, int] = (8, 16),
        num_classes: int = 10,
        *,
        rngs: nnx.Rngs,
        **dtypes: Any,
    ) -> None:
        """Draw the weights, for images of shape (height, width, channels); ``dtypes`` may hold ``param_dtype``."""
        conv = {"kernel_size": (3, 3), "padding": 1, "rngs": rngs, **dtypes}
        norm = {"epsilon": 1e-5, "momentum": 0.9, "use_fast_variance": False, "rngs": rngs, **dtypes}
        self.conv1 = nnx.Conv(image[2], channels[0], **conv)
        self.norm1 = nnx.BatchNorm(channels[0], **norm)
        self.conv2 = nnx.Conv(channels[0], channels[1], strides=(2, 2), **conv)
        self.norm2 = nnx.BatchNorm(channels[1], **norm)
        self.head = nnx.Linear(_halved(image) * channels[1], num_classes, rngs=rngs, **dtypes)

    def __call__(self, x: Array) -> Array:
        """Apply the network to images."""
        x = nnx.relu(self.norm1(self.conv1(x)))
        x = nnx.relu(self.norm2(self.conv2(x)))
        return self.head(x.reshape(*x.shape[:-3], -1))


def attend(query: Array, key: Array, value: Array, **_: Any) -> Array:
    """Attend without a mask, in the dtype of the inputs.

    NNX's own choice, ``jax.nn.dot_product_attention``, takes the softmax in float32 whatever the dtype (jax 0.10): that
    is an error of 1e-7 in float64.
    """
    scores = jnp.einsum("...qhd,...khd->...hqk", query, key) / query.shape[-1] ** 0.5
    return jnp.einsum("...hqk,...khd->...qhd", jax.nn.softmax(scores), value)


class EncoderBlock(nnx.Module):
    """Self-attention and a two-layer network, each on normalised inputs and added to them."""

    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs, **dtypes: Any) -> None:
        """Draw the weights; ``dtypes`` may hold ``param_dtype``."""
        norm = {"epsilon": 1e-5, "use_fast_variance": False, "rngs": rngs, **dtypes}
        self.norm1, self.norm2 = nnx.LayerNorm(width, **norm), nnx.LayerNorm(width, **norm)
        self.attention = nnx.MultiHeadAttention(heads, width, decode=False, attention_fn=attend, rngs=rngs, **dtypes)
        self.fc1 = nnx.Linear(width, 4 * width, rngs=rngs, **dtypes)
        self.fc2 = nnx.Linear(4 * width, width, rngs=rngs, **dtypes)

    def __call__(self, x: Array) -> Array:
        """Apply the block to sequences of shape ``(..., length, width)``."""
        x = x + self.attention(self.norm1(x))
        return x + self.fc2(jax.nn.gelu(self.fc1(self.norm2(x)), approximate=False))


class TransformerEncoder(nnx.Module):
    """Token and position embeddings, encoder blocks, and a linear head on the mean over the sequence."""

    def __init__(
        self,
        vocabulary: int,
        length: int,
        width: int = 8,
        heads: int = 2,
        depth: int = 2,
        num_classes: int = 3,
        *,
        rngs: nnx.Rngs,
        **dtypes: Any,
    ) -> None:
        """Draw the weights; ``dtypes`` may hold ``param_dtype``."""
        drawn = jax.random.normal(rngs.params(), (length, width), dtypes.get("param_dtype", jnp.float32))
        self.embedding = nnx.Embed(vocabulary, width, rngs=rngs, **dtypes)
        self.positions = nnx.Param(0.02 * drawn)
        self.blocks = nnx.List([EncoderBlock(width, heads, rngs=rngs, **dtypes) for _ in range(depth)])
        self.norm = nnx.LayerNorm(width, epsilon=1e-5, use_fast_variance=False, rngs=rngs, **dtypes)
        self.head = nnx.Linear(width, num_classes, rngs=rngs, **dtypes)

    def __call__(self, tokens: Array) -> Array:
        """Apply the network to whole numbers of shape ``(..., length)``."""
        x = self.embedding(tokens)
        x = x + jnp.expand_dims(self.positions[...], tuple(range(x.ndim - 2)))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(-2))


def _halved(image: tuple[int, int, int]) -> int:
    """Return the number of pixels after a convolution of stride 2 that is padded by 1."""
    return ((image[0] + 1) // 2) * ((image[1] + 1) // 2)
