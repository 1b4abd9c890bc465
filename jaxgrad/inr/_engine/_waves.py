"""Sums of waves that go on evenly beyond the edges of a picture, half a pixel outside of its outer centres.

Along an axis of ``n`` pixels that lie ``h`` apart, the even waves are ``cos(w_k t)`` and the odd ones ``sin(w_k t)``,
with ``t`` the distance from the first edge and ``w_k = pi k / (n h)``. Samples at the ``n`` centres determine all
cosines up to ``k = n - 1``. Of the sines the last, ``k = n``, alternates from pixel to pixel; no derivative of a
cosine up to ``n - 1`` has it, and its own derivative is zero at every centre, so it is left out.

The sums are products with matrices. A fast cosine transform takes fewer operations on large pictures, but XLA (that
of JAX 0.10) ends the process where the array is laid over devices along the same axis, and cannot be cut again.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxgrad._types import Array

__all__ = ["along", "at_cosines", "at_sines", "cosines", "frequencies", "sines", "slope_of_even", "slope_of_odd"]


def frequencies(size: int, spacing: ArrayLike, axis: int, like: Array) -> Array:
    """Return the angular frequencies of the waves along an axis, shaped to multiply an array of amplitudes."""
    waves = jnp.asarray(np.pi * np.arange(size) / size, like.dtype) / jnp.asarray(spacing, like.dtype)
    return along(waves, axis, like.ndim)


def along(vector: Array, axis: int, ndim: int) -> Array:
    """Return a vector shaped to multiply an array of ``ndim`` axes along one of them."""
    return vector.reshape([-1 if i == axis else 1 for i in range(ndim)])


def cosines(samples: Array, axis: int) -> Array:
    """Return the amplitudes of the cosines that pass through samples at the centres."""
    size = samples.shape[axis]
    # the waves are orthogonal over the centres; the constant has twice the mean square of the others
    share = jnp.asarray(np.where(np.arange(size) == 0, 1, 2) / size, samples.dtype)
    sums = _product(_at_centres(size, size, samples.dtype).T, samples, axis)
    return sums * along(share, axis, samples.ndim)


def at_cosines(amplitudes: Array, axis: int, size: int) -> Array:
    """Return the sum of cosines at the centres of ``size`` pixels between the same edges."""
    return _product(_at_centres(amplitudes.shape[axis], size, amplitudes.dtype), amplitudes, axis)


def sines(samples: Array, axis: int) -> Array:
    """Return the amplitudes of the sines for k from 0 to n - 1; the first is 0."""
    size = samples.shape[axis]
    return _product(_at_centres(size, size, samples.dtype, odd=True).T, samples, axis) * (2 / size)


def at_sines(amplitudes: Array, axis: int, size: int) -> Array:
    """Return the sum of sines at the centres of ``size`` pixels between the same edges."""
    return _product(_at_centres(amplitudes.shape[axis], size, amplitudes.dtype, odd=True), amplitudes, axis)


def slope_of_even(samples: Array, axis: int, spacing: ArrayLike) -> Array:
    """Return the derivative along an axis of what goes on evenly: it goes on oddly."""
    size = samples.shape[axis]
    return at_sines(-frequencies(size, spacing, axis, samples) * cosines(samples, axis), axis, size)


def slope_of_odd(samples: Array, axis: int, spacing: ArrayLike) -> Array:
    """Return the derivative along an axis of what goes on oddly: it goes on evenly."""
    size = samples.shape[axis]
    return at_cosines(frequencies(size, spacing, axis, samples) * sines(samples, axis), axis, size)


def _at_centres(waves: int, centres: int, dtype: Any, odd: bool = False) -> Array:
    """Return every cosine (or sine), a column each, at every centre, a row each.

    A phase is a whole number of parts, ``centres`` to a quarter turn. Whole quarters are taken off among the integers,
    so that no wave loses digits: the 1,000th has those of the first.
    """
    row, column = jnp.arange(centres, dtype=jnp.int32)[:, None], jnp.arange(waves, dtype=jnp.int32)[None, :]
    # a sine is a cosine a quarter turn behind
    parts = (2 * row + 1) * column - (centres if odd else 0)
    quarters = (parts + centres // 2) // centres
    rest = (parts - quarters * centres).astype(dtype) * (np.pi / (2 * centres))
    wave = jnp.where(quarters & 1 == 1, jnp.sin(rest), jnp.cos(rest))
    return jnp.where((quarters + 1) & 2 == 2, -wave, wave)


def _product(matrix: Array, array: Array, axis: int) -> Array:
    """Multiply a matrix with an array along one of its axes; an accelerator's default keeps 8 or 11 bits of it."""
    return jnp.moveaxis(jnp.tensordot(matrix, array, axes=(1, axis), precision="highest"), 0, axis)
