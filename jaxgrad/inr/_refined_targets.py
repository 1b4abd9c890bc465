"""The targets of a picture on a finer grid."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxgrad import _check
from jaxgrad._jit import jit
from jaxgrad._types import Array
from jaxgrad.inr._engine import _spline, _waves
from jaxgrad.inr._image_targets import ImageTargets, as_picture

__all__ = ["refined_targets"]


@jit("factor", "method", "channels")
def refined_targets(
    image: ArrayLike,
    *,
    factor: int = 4,
    method: Literal["spectral", "spline"] = "spectral",
    channels: int | None = None,
) -> ImageTargets:
    r"""Turn a picture into targets on a grid that is finer by a whole factor, a pool to draw points from.

    Every pixel is cut into ``factor * factor`` equal cells, whose centres are the points; the outer ones lie half a
    cell inside of the picture's edges. For an odd factor the pixels' centres are among them. The field is that of
    `image_targets`, with all its waves up to :math:`W - 1`: no detail is added.

    Args:
        image: Floating-point array of shape ``(H, W, C)``, or ``(H, W)`` for one channel; at least 2 x 2 pixels.
        factor: How many cells a pixel has along each axis, a positive Python integer.
        method: ``"spectral"`` for the sum of cosines through the pixels, ``"spline"`` for the cubic spline.
        channels: The length that the last axis must have, as in `image_targets`.

    Returns:
        An `ImageTargets` of ``factor * H * factor * W`` points, row by row, in the picture's dtype, float32 at the
        least. `ceiling` takes it with ``shape=(factor * H, factor * W)``.

    Raises:
        ValueError: If the image has another rank, fewer than 2 x 2 pixels, another number of channels or seems to
            have them first, ``factor`` is not positive, or ``method`` is unknown.
        TypeError: If the image is no real floating-point array, or ``factor`` no Python integer.

    Cost:
        Multiplications and additions an entry of the finer picture: ``8 W + 6 H / factor + 2 (H + W) / factor**2`` for
        waves, ``41 + 24 / factor + 4 (H + W) / factor**2`` for a spline.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> targets = jaxgrad.inr.refined_targets(jnp.array([[0.0, 1.0], [0.0, 1.0]]), factor=3)
        >>> targets.values.shape, [round(x, 3) for x in targets.points[:3, 0].tolist()]
        ((36, 1), [-1.667, -1.0, -0.333])

    References:
        Strang (1999), The discrete cosine transform, SIAM Review 41; Unser (1999), Splines: a perfect fit for signal
        and image processing, IEEE Signal Processing Magazine 16.
    """
    _check.choice(method, "method", ("spectral", "spline"))
    factor = _check.count(factor, "factor", least=1)
    picture = as_picture(image, channels)
    height, width, channels = picture.shape
    makes = _by_waves if method == "spectral" else _by_splines
    values, by_x, by_y, laplacians = makes(picture, factor)
    x, y = (jnp.asarray(_places(size, factor) * 2 / (size - 1) - 1, picture.dtype) for size in (width, height))
    return ImageTargets(
        jnp.stack(jnp.meshgrid(x, y), axis=-1).reshape(-1, 2),
        values.reshape(-1, channels),
        jnp.stack([by_x, by_y], axis=-1).reshape(-1, channels, 2),
        laplacians.reshape(-1, channels),
    )


def _places(size: int, factor: int) -> np.ndarray:
    """Return the centres of the cells along an axis, counted in pixels from the first one's centre."""
    return (np.arange(factor * size) + 0.5) / factor - 0.5


def _by_waves(picture: Array, factor: int) -> tuple[Array, Array, Array, Array]:
    """Return the sum of cosines through the pixels, its two slopes and its Laplacian, at the centres of the cells."""
    height, width, _ = picture.shape
    rows, columns = factor * height, factor * width
    wave = _waves.cosines(_waves.cosines(picture, 0), 1)
    y, x = (_waves.frequencies(size, 2 / (size - 1), axis, wave) for axis, size in enumerate((height, width)))
    # the sums along the rows' axis serve several of the four
    upright = _waves.at_cosines(wave, 0, rows)
    values = _waves.at_cosines(upright, 1, columns)
    by_x = _waves.at_sines(-x * upright, 1, columns)
    by_y = _waves.at_cosines(_waves.at_sines(-y * wave, 0, rows), 1, columns)
    bent = _waves.at_cosines(-(y**2) * wave, 0, rows) - x**2 * upright
    return values, by_x, by_y, _waves.at_cosines(bent, 1, columns)


def _by_splines(picture: Array, factor: int) -> tuple[Array, Array, Array, Array]:
    """Return the cubic spline through the pixels, its two slopes and its Laplacian, at the centres of the cells."""
    weights = _spline.weights_of(_spline.weights_of(picture, 0), 1)
    y, x = (
        _spline.basis(jnp.asarray(_places(size, factor), picture.dtype), size, 2 / (size - 1))
        for size in picture.shape[:2]
    )
    around = weights[y.indices]
    flat, tilted, bent = (jnp.einsum("hiwc,hi->hwc", around, order) for order in y[1:])

    def across(rows: Array, order: Array) -> Array:
        return jnp.einsum("hwjc,wj->hwc", rows[:, x.indices], order)

    return (
        across(flat, x.values),
        across(flat, x.slopes),
        across(tilted, x.values),
        across(flat, x.curvatures) + across(bent, x.values),
    )
