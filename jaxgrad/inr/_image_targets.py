"""The points, values and derivatives of a picture that a field is fitted to."""

from typing import NamedTuple

import jax.numpy as jnp

from jaxgrad import _check, _sharding
from jaxgrad._jit import jit
from jaxgrad._types import Array

__all__ = ["ImageTargets", "image_targets"]


class ImageTargets(NamedTuple):
    """A picture of ``H`` rows, ``W`` columns and ``C`` channels as samples of a field, row by row."""

    points: Array
    """Coordinates ``(x, y)`` of every pixel, of shape ``(H * W, 2)``: x to the right, y downwards, both in [-1, 1]."""
    values: Array
    """Colours, of shape ``(H * W, C)``."""
    gradients: Array
    """Derivatives of the colours by x and by y, of shape ``(H * W, C, 2)``."""


@jit("method")
def image_targets(image: Array, *, method: str = "central") -> ImageTargets:
    r"""Turn a picture into the targets of `value_loss` and `gradient_loss`.

    The centre of the first pixel of a row lies at x = -1 and that of the last at x = 1, so neighbours are
    :math:`h = 2 / (W - 1)` apart, and a central difference is

    .. math:: \frac{\partial f}{\partial x} \approx \frac{f(x + h) - f(x - h)}{2 h},

    likewise by y. At the borders it becomes the one-sided difference. The derivatives are in units of value by
    coordinate: those of the field itself, with no scale left open.

    Args:
        image: Floating-point array of shape ``(H, W, C)``, or ``(H, W)`` for one channel; at least 2 x 2 pixels.
        method: ``"central"`` for central differences, ``"sobel"`` for the same smoothed across by (1, 2, 1) / 4.

    Returns:
        An `ImageTargets` of points, values and gradients.

    Raises:
        ValueError: If the image has another rank, fewer than 2 x 2 pixels, or ``method`` is unknown.
        TypeError: If the image is no real floating-point array; divide bytes by 255 first.

    Cost:
        A few passes over the picture.

    Example:
        >>> import jax.numpy as jnp
        >>> targets = image_targets(jnp.array([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]))
        >>> targets.points[0].tolist(), targets.gradients[0].tolist()
        ([-1.0, -1.0], [[1.0, 0.0]])

    References:
        Sobel and Feldman (1968), An isotropic 3x3 image gradient operator.
    """
    _check.choice(method, "method", ("central", "sobel"))
    _check.floating(image=image)
    if jnp.ndim(image) not in (2, 3) or min(image.shape[:2]) < 2:
        message = f"image must have shape (H, W, C) or (H, W), at least 2 x 2 pixels; got {_check.describe(image)}"
        raise ValueError(message)
    image = _sharding.gathered(image if image.ndim == 3 else image[..., None])
    height, width, channels = image.shape
    x, y = (jnp.linspace(-1, 1, size, dtype=image.dtype) for size in (width, height))
    by_x, by_y = (_slope(image, axis, method == "sobel") for axis in (1, 0))
    return ImageTargets(
        jnp.stack(jnp.meshgrid(x, y), axis=-1).reshape(-1, 2),
        image.reshape(-1, channels),
        jnp.stack([by_x, by_y], axis=-1).reshape(-1, channels, 2),
    )


def _slope(image: Array, axis: int, smooth: bool) -> Array:
    """Return the derivative along an axis of the picture, smoothed along the other."""
    size = image.shape[axis]
    before, after = _neighbours(image, axis, "odd")
    slope = (after - before) * ((size - 1) / 4)
    if not smooth:
        return slope
    # constant beyond the border: a slope must not be extrapolated
    left, right = _neighbours(slope, 1 - axis, "edge")
    return (left + 2 * slope + right) / 4


def _neighbours(image: Array, axis: int, border: str) -> tuple[Array, Array]:
    """Return every pixel's neighbours before and after it along an axis.

    Beyond the border the picture goes on as a straight line (``"odd"``) or as a constant (``"edge"``).
    """
    widths = [(1, 1) if i == axis else (0, 0) for i in range(image.ndim)]
    mode = {"mode": "reflect", "reflect_type": "odd"} if border == "odd" else {"mode": "edge"}
    padded = jnp.pad(image, widths, **mode)
    size = image.shape[axis]
    return jnp.take(padded, jnp.arange(size), axis), jnp.take(padded, jnp.arange(2, size + 2), axis)
