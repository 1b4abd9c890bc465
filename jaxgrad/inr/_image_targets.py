"""The points, values and derivatives of a picture that a field is fitted to."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array
from jaxgrad._whites import WHITES
from jaxgrad.inr._engine import _spline, _waves, one_array

__all__ = ["ImageTargets", "as_picture", "check_channels_last", "check_picture", "image_targets"]

METHODS = ("central", "sobel", "spline", "spectral")
"""The ways to differentiate a picture."""


class ImageTargets(NamedTuple):
    """A picture of ``C`` channels as samples of a field: at every pixel, row by row, or at given points."""

    points: Array
    """Coordinates ``(x, y)``, of shape ``(..., 2)``: x to the right, y downwards; outer pixels have their centres at
    -1 and 1."""
    values: Array
    """Colours, of shape ``(..., C)``."""
    gradients: Array
    """Derivatives of the colours by x and by y, of shape ``(..., C, 2)``."""
    laplacians: Array
    """The divergence of these derivatives, of shape ``(..., C)``."""


@jit("method", "channels")
def image_targets(
    image: ArrayLike,
    *,
    method: Literal["central", "sobel", "spline", "spectral"] = "central",
    channels: int | None = None,
) -> ImageTargets:
    r"""Turn a picture into the targets of a fit by values, by derivatives or by Laplacians, at its pixels.

    The centre of the first pixel of a row lies at x = -1 and that of the last at x = 1, so neighbours are
    :math:`h = 2 / (W - 1)` apart; likewise by y. Derivatives are in units of value by coordinate: those of the field
    itself, with no scale left open. Beyond its edges, half a pixel outside of the outer centres, the picture goes on
    as its mirror image, for every method. ``"spectral"`` differentiates the one sum of cosines through all pixels,

    .. math:: f(x) = \sum_{k=0}^{W-1} a_k \cos(\omega_k (x + 1 + h / 2)), \qquad \omega_k = \frac{\pi k}{W h},

    and ``"spline"`` the cubic spline through them; ``"central"`` takes central differences,

    .. math:: \frac{\partial f}{\partial x} \approx \frac{f(x + h) - f(x - h)}{2 h},

    and ``"sobel"`` smooths these across by (1, 2, 1) / 4. No field has the last two for its derivatives: `ceiling`
    says how near one comes. The Laplacian is the divergence of the gradient: of the spline's, and otherwise of the one
    sum of waves that has these derivatives at the pixels. What fits the gradient best thus has this Laplacian.

    Args:
        image: Floating-point array of shape ``(H, W, C)``, or ``(H, W)`` for one channel; at least 2 x 2 pixels.
            A picture of 16-bit floats is taken in float32: between -1 and 1 bfloat16 cannot tell 300 pixels apart.
            A pixel that is NaN makes NaN of all that depends on it: of its rows and columns, but for the gradients of
            ``"central"`` and ``"sobel"``, where only its neighbours do.
        method: ``"spectral"``, ``"spline"``, ``"central"`` or ``"sobel"``.
        channels: The length that the last axis must have. Needed only for a picture that looks as if its channels
            came first: of 3 or 4 rows, with more than 4 channels.

    Returns:
        An `ImageTargets` of points, values, gradients and Laplacians of the ``H * W`` pixels, row by row, all in the
        picture's dtype, float32 at the least.

    Raises:
        ValueError: If the image has another rank, fewer than 2 x 2 pixels, another number of channels or seems to
            have them first, or ``method`` is unknown.
        TypeError: If the image is no real floating-point array; divide bytes by 255 first, 16-bit integers by 65535.

    Cost:
        Two products with a matrix along each axis, of its own size: ``4 (H + W)`` operations an entry of the picture;
        twice as many for ``"spectral"``.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> targets = jaxgrad.inr.image_targets(jnp.array([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]))
        >>> targets.points[1].tolist(), targets.gradients[1].tolist()
        ([0.0, -1.0], [[1.0, 0.0]])

    References:
        Sobel and Feldman (1968), An isotropic 3x3 image gradient operator; Unser (1999), Splines: a perfect fit for
        signal and image processing, IEEE Signal Processing Magazine 16; Strang (1999), The discrete cosine transform,
        SIAM Review 41, for the cosines of even continuation.
    """
    _check.choice(method, "method", METHODS)
    picture = as_picture(image, channels)
    height, width, channels = picture.shape
    # y lies along the rows' axis, 0, and x along the columns', 1
    steps = {1: 2 / (width - 1), 0: 2 / (height - 1)}
    if method == "spline":
        both = [_spline.derivatives_at_pixels(picture, axis, step) for axis, step in steps.items()]
        slopes, bends = zip(*both, strict=True)
    else:
        slopes = tuple(_slope(picture, axis, step, method) for axis, step in steps.items())
        bends = tuple(_waves.slope_of_odd(g, a, step) for g, (a, step) in zip(slopes, steps.items(), strict=True))
    x, y = (jnp.linspace(-1, 1, size, dtype=picture.dtype) for size in (width, height))
    return ImageTargets(
        jnp.stack(jnp.meshgrid(x, y), axis=-1).reshape(-1, 2),
        picture.reshape(-1, channels),
        jnp.stack(slopes, axis=-1).reshape(-1, channels, 2),
        (bends[0] + bends[1]).reshape(-1, channels),
    )


def as_picture(image: Any, channels: int | None) -> Array:
    """Return a picture of shape ``(H, W, C)`` in float32 or wider, whole on every device.

    Raises:
        ValueError: If it has another rank, fewer than 2 x 2 pixels, or other channels than it should.
        TypeError: If it is no real floating-point array.
    """
    picture = check_picture("image", image)
    if picture.ndim not in (2, 3) or min(picture.shape[:2]) < 2:
        message = f"image must have shape (H, W, C) or (H, W), at least 2 x 2 pixels; got {_check.describe(picture)}"
        raise ValueError(message)
    if channels is None:
        check_channels_last("image", picture, f"channels={picture.shape[-1]}")
    elif channels != (picture.shape[-1] if picture.ndim == 3 else 1):
        message = f"image must have channels={channels!r} along its last axis; got {_check.describe(picture)}"
        raise ValueError(message)
    return _sharding.gathered(_tree.widened(picture if picture.ndim == 3 else picture[..., None]))


def check_picture(name: str, picture: Any) -> Array:
    """Return an array of floating-point numbers; a message tells what to divide by where it holds integers.

    Raises:
        TypeError: If it is none.
    """
    largest = WHITES.get(str(getattr(picture, "dtype", "")))
    if largest is not None:
        message = f"{name} must hold floats from 0 to 1; got {_check.describe(picture)}: write {name} / {largest}.0"
        raise TypeError(message)
    return one_array(name, picture)


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


def _slope(image: Array, axis: int, step: float, method: str) -> Array:
    """Return the derivative along an axis of a picture that goes on as its mirror image."""
    if method == "spectral":
        return _waves.slope_of_even(image, axis, step)
    before, after = _neighbours(image, axis)
    slope = (after - before) / (2 * step)
    if method == "central":
        return slope
    left, right = _neighbours(slope, 1 - axis)
    return (left + 2 * slope + right) / 4


def _neighbours(image: Array, axis: int) -> tuple[Array, Array]:
    """Return every pixel's neighbours before and after it along an axis; an outer pixel is its own mirror image."""
    padded = jnp.pad(image, [(1, 1) if i == axis else (0, 0) for i in range(image.ndim)], mode="edge")
    size = image.shape[axis]
    return jnp.take(padded, jnp.arange(size), axis), jnp.take(padded, jnp.arange(2, size + 2), axis)
