"""Points of a picture, a sound or a volume, drawn for a step of a fit."""

from __future__ import annotations

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import _check
from jaxgrad._jit import jit
from jaxgrad._types import Array, Key

__all__ = ["sample_points"]

METHODS = ("grid", "jittered", "uniform", "quasi")
"""The ways to draw points."""


@jit("count", "method", "shape", "dtype")
def sample_points(
    key: Key,
    count: int,
    *,
    method: Literal["grid", "jittered", "uniform", "quasi"],
    shape: tuple[int, ...],
    dtype: Any = float,
) -> Array:
    r"""Draw points for `targets_at`, from pixels or from anywhere between a picture's edges.

    The domain ends half a pixel outside of the outer pixels' centres, at :math:`\pm N / (N - 1)` along an axis of
    :math:`N` pixels: every pixel owns an equal cell of it, and is met as often as any other. ``"grid"`` draws centres
    of pixels, none twice; ``"jittered"`` one point anywhere in each of as many cells, and none a second time before
    every cell has its first; ``"uniform"`` independent points; ``"quasi"`` the first of Sobol's sequence, which fill
    the domain more evenly, moved all together by one draw, modulo the domain.

    A fit to the pixels' centres alone leaves the field free between them: by gradients it then stands at half the
    decibels that points off the grid reach.

    Args:
        key: Random key; one for each call.
        count: How many points, a positive Python integer.
        method: ``"grid"``, ``"jittered"``, ``"uniform"`` or ``"quasi"``. All of a grid (``count`` the number of pixels)
            comes row by row, in the order of `image_targets`.
        shape: The pixels along each axis, ``(H, W)`` for a picture; ``(N,)`` for a sound, ``(D, H, W)`` for a volume;
            at least 2 each. Coordinates come in the reverse order: x, y, z.
        dtype: A floating-point dtype of 32 bits or more; ``float`` is JAX's default.

    Returns:
        The points, of shape ``(count, d)``. Each is uniform over the domain (over the pixels, for a grid).

    Raises:
        ValueError: If ``count`` is not positive, or exceeds the pixels of a grid, ``shape`` is no tuple of one to
            three lengths of at least 2, or ``method`` is unknown.
        TypeError: If ``key`` is no random key, ``count`` or a length no Python integer, or ``dtype`` no floating-point
            dtype of 32 bits or more.

    Cost:
        ``count * d`` random numbers; for some of the cells of a grid, a permutation of all of them.

    Example:
        >>> import jax
        >>> import jaxgrad
        >>> key = jax.random.key(0)
        >>> points = jaxgrad.inr.sample_points(key, 4096, method="uniform", shape=(200, 300))
        >>> points.shape, bool(abs(points[:, 1]).max() <= 200 / 199)
        ((4096, 2), True)
        >>> jaxgrad.inr.sample_points(key, 4, method="grid", shape=(2, 2)).tolist()
        [[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]]

    References:
        Cook (1986), Stochastic sampling in computer graphics, ACM Transactions on Graphics 5; Sobol (1967), On the
        distribution of points in a cube and the approximate evaluation of integrals, USSR Computational Mathematics
        and Mathematical Physics 7; Cranley and Patterson (1976), Randomization of number theoretic methods for
        multiple integration, SIAM Journal on Numerical Analysis 13, for the move.
    """
    _check.key(key, "key")
    _check.choice(method, "method", METHODS)
    sizes = _sizes_of(shape)
    total = math.prod(sizes)
    most = total if method == "grid" else None
    count = _check.count(count, "count", least=1, most=most, advice="A grid gives no pixel twice" * (most is not None))
    kind = _wide_dtype(dtype)
    # places are counted in pixels along x, y, z, from the first edge
    lengths = jnp.asarray(sizes, kind)[None, :]
    if method == "uniform":
        places = jax.random.uniform(key, (count, len(sizes)), kind) * lengths
    elif method == "quasi":
        moved = jnp.asarray(_sobol(count, len(sizes)), kind) + jax.random.uniform(key, (1, len(sizes)), kind)
        places = (moved - jnp.floor(moved)) * lengths
    else:
        of_cells, of_offsets = jax.random.split(key)
        cells = _cells(of_cells, count, sizes).astype(kind)
        jitter = method == "jittered"
        places = cells + (jax.random.uniform(of_offsets, cells.shape, kind) if jitter else jnp.asarray(0.5, kind))
    return jnp.stack([_coordinate(places[:, axis], size) for axis, size in enumerate(sizes)], axis=-1)


def _sizes_of(shape: Any) -> tuple[int, ...]:
    """Return the pixels along x, y and z, the last axis first.

    Raises:
        ValueError: If ``shape`` is no tuple of one to three lengths of at least 2.
        TypeError: If a length is no Python integer.
    """
    if not isinstance(shape, tuple | list) or not 1 <= len(shape) <= 3:
        message = f"shape must be a tuple of one to three lengths, (H, W) for a picture; got {shape!r}"
        raise ValueError(message)
    return tuple(_check.count(size, f"shape[{i}]", least=2) for i, size in enumerate(shape))[::-1]


def _wide_dtype(dtype: Any) -> jnp.dtype:
    """Return a dtype as JAX keeps it.

    Raises:
        TypeError: If it is no floating-point dtype of 32 bits or more.
    """
    kind = jax.dtypes.canonicalize_dtype(dtype)
    if not jnp.issubdtype(kind, jnp.floating) or kind.itemsize < 4:
        message = f"dtype must be a floating-point dtype of 32 bits or more, for a coordinate a pixel; got {dtype!r}"
        raise TypeError(message)
    return kind


def _coordinate(place: Array, size: int) -> Array:
    """Turn places along an axis, in pixels from the first edge, into coordinates: 0.5 is the first pixel's centre."""
    inside = (place - 0.5) * (2 / (size - 1)) - 1
    # rounding may carry a place past the edge
    edge = size / (size - 1)
    return jnp.clip(inside, -edge, edge)


def _cells(key: Key, count: int, sizes: tuple[int, ...]) -> Array:
    """Return the cells of ``count`` points, a row of whole numbers each.

    As many rounds of all cells as go in, in their order, and for what is left cells drawn without repetition.
    """
    total = math.prod(sizes)
    rounds, rest = divmod(count, total)
    index = jnp.tile(jnp.arange(total, dtype=jnp.int32), rounds)
    if rest:
        index = jnp.concatenate([index, jax.random.permutation(key, jnp.arange(total, dtype=jnp.int32))[:rest]])
    columns = []
    for size in sizes:
        columns.append(index % size)
        index = index // size
    return jnp.stack(columns, axis=-1)


def _sobol(count: int, dimensions: int) -> np.ndarray:
    """Return the first of SciPy's Sobol numbers, made on the host."""
    from scipy.stats import qmc

    # a whole power of two, of which a part is taken: for another number SciPy warns that it is less balanced
    return qmc.Sobol(dimensions, scramble=False).random_base2(max(count - 1, 0).bit_length())[:count]
