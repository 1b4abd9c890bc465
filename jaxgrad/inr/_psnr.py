"""The peak signal-to-noise ratio of a picture."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, AxisName
from jaxgrad.inr._image_targets import check_channels_last, check_picture

__all__ = ["psnr"]


@jit("align", "axis_name")
def psnr(
    image: ArrayLike,
    reference: ArrayLike,
    *,
    align: Literal["none", "mean", "affine"] = "none",
    axis_name: AxisName = None,
) -> Array:
    r"""Measure a picture against a reference, in decibels, for values between 0 and 1.

    .. math:: -10 \log_{10} \frac{1}{N} \sum_i (a_i - b_i)^2

    A field that was fitted by its derivatives is known up to a constant: ``align="mean"`` removes the constant of
    each channel first, ``align="affine"`` a factor as well, both by least squares.

    Args:
        image: Floating-point array of shape ``(..., C)``, channels last: ``(H, W, C)`` or ``(N, C)``. A grey picture
            needs its axis of length 1.
        reference: Array of the same shape and dtype.
        align: ``"none"``, ``"mean"`` or ``"affine"``.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which every mean over pixels is that over all
            devices' pixels; ``None``: over the device's own. More in ``help(jaxgrad)``.

    Returns:
        The ratio, of shape ``()``, computed in float32 or wider; infinite where the two are equal.

    Raises:
        ValueError: If the shapes or dtypes differ, a picture to align seems to have its channels first, an array has
            fewer than two axes or no entry, ``align`` is unknown, or ``axis_name`` is no axis around.
        TypeError: If an array is no real floating-point array; divide bytes by 255 first, 16-bit integers by 65535.

    Cost:
        A few passes over the picture.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> round(jaxgrad.inr.psnr(jnp.full((2, 2, 1), 0.6), jnp.full((2, 2, 1), 0.5)).item(), 3)
        20.0
        >>> jaxgrad.inr.psnr(jnp.full((2, 2, 1), 0.6), jnp.full((2, 2, 1), 0.5), align="mean").item()
        inf

    References:
        Wang and Bovik (2009), Mean squared error: love it or leave it?, IEEE Signal Processing Magazine 26.
    """
    _check.choice(align, "align", ("none", "mean", "affine"))
    found, wanted = check_picture("image", image), check_picture("reference", reference)
    _check.mirrors(reference=wanted, image=found)
    if found.ndim < 2 or found.size == 0:
        message = f"image must have shape (..., channels) and at least one pixel; got {_check.describe(found)}"
        raise ValueError(message)
    found, wanted = _tree.widened((found, wanted))
    pixels = tuple(range(found.ndim - 1))
    if align != "none":
        check_channels_last("image", found, f"both reshaped to (-1, {found.shape[-1]})")
        means = (_sharding.mean_over(jnp.mean(a, pixels, keepdims=True), axis_name) for a in (found, wanted))
        found, wanted = (a - mean for a, mean in zip((found, wanted), means, strict=True))
    if align == "affine":
        found = found * _factor(found, wanted, pixels, axis_name)
    return -10 * jnp.log10(_sharding.mean_over(jnp.mean(jnp.square(found - wanted)), axis_name))


def _factor(image: Array, reference: Array, pixels: tuple[int, ...], axis_name: AxisName) -> Array:
    """Return the factor for each channel that brings a centred picture nearest to a centred reference."""
    power, shared = (
        _sharding.sum_over(jnp.sum(image * other, pixels, keepdims=True), axis_name) for other in (image, reference)
    )
    # a flat channel has no contrast to scale
    return jnp.where(power > 0, shared / jnp.where(power > 0, power, jnp.ones_like(power)), jnp.ones_like(power))
