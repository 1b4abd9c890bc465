"""The targets of a picture at any points of the plane."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array
from jaxgrad._uses import _chunks
from jaxgrad.inr._engine import _spline, _waves, one_array
from jaxgrad.inr._image_targets import ImageTargets, as_picture
from jaxgrad.inr._sine_cosine import waves as pair

__all__ = ["targets_at"]


@jit("method", "channels", "chunk")
def targets_at(
    image: ArrayLike,
    points: ArrayLike,
    *,
    method: Literal["spectral", "spline"] = "spectral",
    channels: int | None = None,
    chunk: int | None = None,
) -> ImageTargets:
    r"""Give the values, derivatives and Laplacians of a picture's field at any points.

    The field is that of `image_targets`: the one sum of cosines through all pixels, or the cubic spline. Points may lie
    between pixels, where a fit to the grid alone is free to do what it likes, and outside of the picture, where its
    mirror images follow each other. The sums are carried out as they stand, wave by wave, and are exact.

    Args:
        image: Floating-point array of shape ``(H, W, C)``, or ``(H, W)`` for one channel; at least 2 x 2 pixels.
        points: Floating-point array of shape ``(..., 2)``: x to the right, y downwards, -1 and 1 at the outer pixels'
            centres. Points of 16 bits are taken in float32. `sample_points` draws them.
        method: ``"spectral"`` for the sum of cosines through the pixels, ``"spline"`` for the cubic spline.
        channels: The length that the last axis of the image must have, as in `image_targets`.
        chunk: How many points are taken at a time: it bounds the memory. ``None``: all at once.

    Returns:
        An `ImageTargets` of the points, with values of shape ``(..., C)``, gradients ``(..., C, 2)`` and Laplacians
        ``(..., C)``, in the wider dtype of the two, float32 at the least.

    Raises:
        ValueError: If the image has another rank, fewer than 2 x 2 pixels, another number of channels or seems to
            have them first, ``points`` are not pairs, ``chunk`` is not positive, or ``method`` is unknown.
        TypeError: If the image or the points are no real floating-point array, or ``chunk`` is no Python integer.

    Cost:
        ``6 H W C`` floating-point operations a point for waves (matrix products, with ``3 W C`` numbers held a point),
        and ``2 H W C (H + W)`` for the picture; for a spline about ``200 (C + 1)`` a point, and ``4 H W C (H + W)``.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> ramp = jnp.array([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
        >>> targets = jaxgrad.inr.targets_at(ramp, jnp.array([[0.0, 0.3]]), method="spline")
        >>> round(targets.values.item(), 3), round(targets.gradients[0, 0, 0].item(), 3)
        (1.0, 1.2)

    References:
        Strang (1999), The discrete cosine transform, SIAM Review 41; Unser (1999), Splines: a perfect fit for signal
        and image processing, IEEE Signal Processing Magazine 16.
    """
    _check.choice(method, "method", ("spectral", "spline"))
    picture = as_picture(image, channels)
    where = _as_points(points)
    dtype = _tree.accumulator(picture.dtype, where.dtype)
    picture, where = picture.astype(dtype), where.astype(dtype)
    prepared, of_points = (
        (_waves_of(picture), _by_waves) if method == "spectral" else (_splines_of(picture), _by_splines)
    )
    if chunk is None:
        return of_points(prepared, where)
    chunk = _check.count(chunk, "chunk", least=1)
    flat = where.reshape(-1, 2)
    rows = _chunks.over_chunks(lambda part, _: ((), of_points(prepared, part)), flat, jnp.ones(len(flat), bool), chunk)[
        1
    ]
    return ImageTargets(*(leaf.reshape(*where.shape[:-1], *leaf.shape[1:]) for leaf in rows))


def _as_points(points: ArrayLike) -> Array:
    """Return points of the plane in float32 or wider.

    Raises:
        ValueError: If they are not pairs of coordinates.
        TypeError: If they are no real floating-point array.
    """
    given = one_array("points", points)
    if given.ndim == 0 or given.shape[-1] != 2:
        message = f"points must have shape (..., 2), x and y last; got {_check.describe(given)}"
        raise ValueError(message)
    return _tree.widened(given)


def _waves_of(picture: Array) -> Array:
    """Return the amplitudes of the waves through the pixels, of shape ``(H, W, C)``."""
    return _waves.cosines(_waves.cosines(picture, 0), 1)


def _by_waves(amplitudes: Array, points: Array) -> ImageTargets:
    """Sum the waves at the points: along y by a matrix product for each order of derivative, then along x."""
    height, width, _ = amplitudes.shape
    (flat, slope, bend), (of_y, by_y, by_yy) = (
        _wave_at(points[..., axis], size) for axis, size in enumerate((width, height))
    )
    # full precision: an accelerator's default would round the waves to 8 or 11 bits
    level, tilted, bent = (
        jnp.einsum("...h,hwc->...wc", order, amplitudes, precision="highest") for order in (of_y, by_y, by_yy)
    )

    def across(order: Array, rows: Array) -> Array:
        return jnp.einsum("...w,...wc->...c", order, rows, precision="highest")

    return ImageTargets(
        points,
        across(flat, level),
        jnp.stack([across(slope, level), across(flat, tilted)], axis=-1),
        across(bend, level) + across(flat, bent),
    )


def _wave_at(coordinate: Array, size: int) -> tuple[Array, Array, Array]:
    """Return every cosine along an axis at a coordinate, and its first and second derivative."""
    step = 2 / (size - 1)
    waves = _waves.along(jnp.arange(size, dtype=coordinate.dtype), coordinate.ndim, coordinate.ndim + 1)
    # in half turns from the first edge; whole turns are taken off before pi rounds them
    halves = waves * ((coordinate[..., None] + (1 + step / 2)) / (size * step))
    angle = jnp.pi * (halves - 2 * jnp.round(halves / 2))
    frequency = waves * (jnp.pi / (size * step))
    # one reduction for both: of 4,096 points of a picture of 64 pixels a side the waves were half of the time
    sine, cosine = pair(angle)
    return cosine, -frequency * sine, -(frequency**2) * cosine


def _splines_of(picture: Array) -> Array:
    """Return the weights of the B-splines of the picture, of shape ``(H, W, C)``."""
    return _spline.weights_of(_spline.weights_of(picture, 0), 1)


def _by_splines(weights: Array, points: Array) -> ImageTargets:
    """Sum the 4 x 4 B-splines around each point."""
    height, width, _ = weights.shape
    x, y = (
        _spline.basis((points[..., axis] + 1) * ((size - 1) / 2), size, 2 / (size - 1))
        for axis, size in enumerate((width, height))
    )
    around = weights[y.indices[..., :, None], x.indices[..., None, :]]

    def total(by_y: Array, by_x: Array) -> Array:
        return jnp.einsum("...i,...j,...ijc->...c", by_y, by_x, around, precision="highest")

    return ImageTargets(
        points,
        total(y.values, x.values),
        jnp.stack([total(y.values, x.slopes), total(y.slopes, x.values)], axis=-1),
        total(y.values, x.curvatures) + total(y.curvatures, x.values),
    )
