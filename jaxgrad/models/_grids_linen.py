"""The networks that read tables, as Flax linen modules: points of shape ``(..., d)`` to values ``(..., channels)``."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxgrad._types import Array
from jaxgrad.models import _fields, _hash_grid, _siren, _spline_grid
from jaxgrad.models._fields_linen import dense

__all__ = ["HashGrid", "SplineGrid"]


class HashGrid(nn.Module):
    """A small network on features that a grid of several resolutions holds (Müller et al. 2022).

    The grid covers ``[-1.125, 1.125]`` in each of 1, 2 or 3 coordinates; beyond, the field is constant. ``coarsest``
    and ``finest`` count the cells from -1 to 1 of the first and the last of the ``levels``, ``table_size`` (a power
    of two) the most entries of a level, and ``features`` the numbers of an entry. Interpolation is smooth: the first
    derivatives are continuous, and inside of each cell all others exist.
    """

    sizes: tuple[int, ...]
    levels: int = 12
    features: int = 2
    table_size: int = 2**14
    coarsest: int = 8
    finest: int = 256
    activation: Callable[[Array], Array] = nn.relu
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        """Draw the entries from ``[-1e-4, 1e-4]`` and the weights as Glorot and Bengio do (Müller 2022, section 4)."""
        _fields.check_sizes(self.sizes)
        self.grid = _hash_grid.make_grid(self.sizes[0], self.levels, self.table_size, self.coarsest, self.finest)
        inner = (self.levels * self.features, *self.sizes[1:])
        self.layers = dense(inner, _siren.glorot_layers(inner), self.param_dtype)
        shape = (self.grid.size, self.features)
        self.entries = self.param("entries", _siren.uniform(_hash_grid.SMALL), shape, self.param_dtype)

    def __call__(self, x: Array) -> Array:
        """Apply the network to points of shape ``(..., sizes[0])``."""
        x = _hash_grid.encode(_fields.points_of(x, self.sizes[0]), self.entries, self.grid)
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


class SplineGrid(nn.Module):
    """A small network on cubic splines at several resolutions, even about the edges of its domain.

    The domain is ``[-edge, edge]``, with one edge a coordinate where ``edge`` has several; the slope across it is 0
    there. ``coarsest`` and ``finest`` count the cells of the first and the last of the ``levels`` along an axis, and
    every vertex has ``features`` entries of its own: ``(finest + 1) ** d`` of them at the last level. What the network
    returns is added to a linear function of the features, which is itself a spline.
    """

    sizes: tuple[int, ...]
    levels: int = 10
    features: int = 4
    coarsest: int = 3
    finest: int = 256
    edge: float | tuple[float, ...] = 1.0
    activation: Callable[[Array], Array] = nn.gelu
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        """Draw the entries from ``[-0.01, 0.01]`` and the weights as Glorot and Bengio do."""
        _fields.check_sizes(self.sizes)
        self.grid = _spline_grid.make_levels(self.sizes[0], self.levels, self.coarsest, self.finest, self.edge)
        inner = (self.levels * self.features, *self.sizes[1:])
        self.layers = dense(inner, _siren.glorot_layers(inner), self.param_dtype)
        kernel = _siren.glorot_layers((inner[0], inner[-1]))[0].kernel
        self.straight = nn.Dense(inner[-1], use_bias=False, kernel_init=kernel, param_dtype=self.param_dtype)
        shape = (self.grid.size, self.features)
        self.entries = self.param("entries", _siren.uniform(_spline_grid.SMALL), shape, self.param_dtype)

    def __call__(self, x: Array) -> Array:
        """Apply the network to points of shape ``(..., sizes[0])``."""
        features = x = _spline_grid.encode(_fields.points_of(x, self.sizes[0]), self.entries, self.grid)
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x) + self.straight(features)
