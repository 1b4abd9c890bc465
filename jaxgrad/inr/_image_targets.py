"""The points, values and derivatives of a picture that a field is fitted to."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array

__all__ = ["ImageTargets", "check_channels_last", "check_picture", "image_targets"]

LARGEST = {"uint8": 255, "uint16": 65535}
"""The white of a picture of integers, by its dtype."""


class ImageTargets(NamedTuple):
    """A picture of ``H`` rows, ``W`` columns and ``C`` channels as samples of a field, row by row."""

    points: Array
    """Coordinates ``(x, y)`` of every pixel, of shape ``(H * W, 2)``: x to the right, y downwards, both in [-1, 1]."""
    values: Array
    """Colours, of shape ``(H * W, C)``."""
    gradients: Array
    """Derivatives of the colours by x and by y, of shape ``(H * W, C, 2)``."""


@jit("method", "channels")
def image_targets(
    image: ArrayLike, *, method: Literal["central", "sobel"] = "central", channels: int | None = None
) -> ImageTargets:
    r"""Turn a picture into the targets of `value_loss` and `gradient_loss`.

    The centre of the first pixel of a row lies at x = -1 and that of the last at x = 1, so neighbours are
    :math:`h = 2 / (W - 1)` apart, and a central difference is

    .. math:: \frac{\partial f}{\partial x} \approx \frac{f(x + h) - f(x - h)}{2 h},

    likewise by y. At the borders it becomes the one-sided difference. The derivatives are in units of value by
    coordinate: those of the field itself, with no scale left open.

    Args:
        image: Floating-point array of shape ``(H, W, C)``, or ``(H, W)`` for one channel; at least 2 x 2 pixels.
            A picture of 16-bit floats is taken in float32: between -1 and 1 bfloat16 cannot tell 300 pixels apart.
        method: ``"central"`` for central differences, ``"sobel"`` for the same smoothed across by (1, 2, 1) / 4.
        channels: The length that the last axis must have. Needed only for a picture that looks as if its channels
            came first: of 3 or 4 rows, with more than 4 channels.

    Returns:
        An `ImageTargets` of points, values and gradients, all in the picture's dtype, float32 at the least.

    Raises:
        ValueError: If the image has another rank, fewer than 2 x 2 pixels, another number of channels or seems to
            have them first, or ``method`` is unknown.
        TypeError: If the image is no real floating-point array; divide bytes by 255 first, 16-bit integers by 65535.

    Cost:
        A few passes over the picture.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> targets = jaxgrad.inr.image_targets(jnp.array([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]))
        >>> targets.points[0].tolist(), targets.gradients[0].tolist()
        ([-1.0, -1.0], [[1.0, 0.0]])

    References:
        Sobel and Feldman (1968), An isotropic 3x3 image gradient operator.
    """
    _check.choice(method, "method", ("central", "sobel"))
    picture = check_picture("image", image)
    if picture.ndim not in (2, 3) or min(picture.shape[:2]) < 2:
        message = f"image must have shape (H, W, C) or (H, W), at least 2 x 2 pixels; got {_check.describe(picture)}"
        raise ValueError(message)
    if channels is None:
        check_channels_last("image", picture, f"channels={picture.shape[-1]}")
    elif channels != (picture.shape[-1] if picture.ndim == 3 else 1):
        message = f"image must have channels={channels!r} along its last axis; got {_check.describe(picture)}"
        raise ValueError(message)
    picture = _sharding.gathered(_tree.widened(picture if picture.ndim == 3 else picture[..., None]))
    height, width, channels = picture.shape
    x, y = (jnp.linspace(-1, 1, size, dtype=picture.dtype) for size in (width, height))
    by_x, by_y = (_slope(picture, axis, method == "sobel") for axis in (1, 0))
    return ImageTargets(
        jnp.stack(jnp.meshgrid(x, y), axis=-1).reshape(-1, 2),
        picture.reshape(-1, channels),
        jnp.stack([by_x, by_y], axis=-1).reshape(-1, channels, 2),
    )


def check_picture(name: str, picture: Any) -> Array:
    """Return an array of floating-point numbers; a message tells what to divide by where it holds integers.

    Raises:
        TypeError: If it is none.
    """
    largest = LARGEST.get(str(getattr(picture, "dtype", "")))
    if largest is not None:
        message = f"{name} must hold floats from 0 to 1; got {_check.describe(picture)}: write {name} / {largest}.0"
        raise TypeError(message)
    _check.floating(**{name: picture})
    if not hasattr(picture, "shape"):
        message = f"{name} must be one array; got {_check.describe(picture)}: write jnp.asarray({name})"
        raise TypeError(message)
    return jnp.asarray(picture)


def check_channels_last(name: str, picture: Array, meant: str) -> None:
    """Refuse a picture whose first of three axes looks like the channels; ``meant`` says what to write if it is not.

    Raises:
        ValueError: If the first axis has length 3 or 4, and the last is longer.
    """
    if picture.ndim == 3 and picture.shape[0] in (3, 4) and picture.shape[-1] > 4:
        message = (
            f"{name} of {_check.describe(picture)} seems to have its channels first: write"
            f" jnp.moveaxis({name}, 0, -1), or {meant} where it has {picture.shape[-1]} channels"
        )
        raise ValueError(message)


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
