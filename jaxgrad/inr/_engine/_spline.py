"""Cubic splines through the pixels of a picture, that go on evenly beyond its edges, as sums of B-splines."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxgrad._types import Array
from jaxgrad.inr._engine import _waves

__all__ = ["Basis", "basis", "cell_of", "derivatives_at_pixels", "pieces", "weights_of"]


class Basis(NamedTuple):
    """The four B-splines around each position along an axis."""

    indices: Array
    """Which pixels they belong to, of shape ``(..., 4)``."""
    values: Array
    slopes: Array
    curvatures: Array
    """What they and their derivatives, per unit coordinate, are there; of the same shape."""


def weights_of(samples: Array, axis: int) -> Array:
    """Return the weights of the B-splines whose sum passes through the samples.

    A B-spline is 2/3 at its own pixel and 1/6 at the neighbours. With an even continuation cosines are the
    eigenvectors of that system, and its condition is at most 3.
    """
    size = samples.shape[axis]
    eigenvalues = (2 + np.cos(np.pi * np.arange(size) / size)) / 3
    divisor = _waves.along(jnp.asarray(eigenvalues, samples.dtype), axis, samples.ndim)
    return _waves.at_cosines(_waves.cosines(samples, axis) / divisor, axis, size)


def derivatives_at_pixels(samples: Array, axis: int, spacing: float) -> tuple[Array, Array]:
    """Return the first and the second derivative of the spline along an axis, at its pixels."""
    weights = weights_of(samples, axis)
    widths = [(1, 1) if i == axis else (0, 0) for i in range(samples.ndim)]
    padded, size = jnp.pad(weights, widths, mode="edge"), samples.shape[axis]
    before, after = jnp.take(padded, jnp.arange(size), axis), jnp.take(padded, jnp.arange(2, size + 2), axis)
    return (after - before) / (2 * spacing), (after - 2 * weights + before) / spacing**2


def cell_of(places: Array) -> Array:
    """Return the whole number below each place, a constant to derivatives.

    It is computed once. Where XLA computes it anew, for the numbers that are read there and for what they are
    multiplied by, it may round differently, and a place between two cells gets the numbers of one and the factors of
    the other.
    """
    return jax.lax.optimization_barrier(jnp.floor(jax.lax.stop_gradient(places)))


def pieces(t: Array) -> Array:
    """Return the values at ``t`` in [0, 1] of the four B-splines that are not 0 in a cell, along a new last axis."""
    s = 1 - t
    return jnp.stack([s**3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (3 * s**3 - 6 * s**2 + 4) / 6, t**3 / 6], -1)


def basis(places: Array, size: int, spacing: ArrayLike) -> Basis:
    """Return the B-splines around places that are counted in pixels: 0 and ``size - 1`` are the outer centres."""
    first = cell_of(places)
    t = places - first
    s = 1 - t
    slopes = [-(s**2) / 2, (3 * t**2 - 4 * t) / 2, (4 * s - 3 * s**2) / 2, t**2 / 2]
    curvatures = [s, 3 * t - 2, 3 * s - 2, t]
    around = jnp.stack([first.astype(jnp.int32) + i for i in (-1, 0, 1, 2)], -1)
    # the picture, its mirror image, and so on: a period of 2 size
    folded = jnp.mod(around, 2 * size)
    return Basis(
        jnp.minimum(folded, 2 * size - 1 - folded),
        pieces(t),
        jnp.stack(slopes, -1) / spacing,
        jnp.stack(curvatures, -1) / spacing**2,
    )
