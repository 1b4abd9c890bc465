"""A norm in which residuals of a Laplacian weigh as much as those of a gradient."""

import jax.numpy as jnp

from jaxgrad._types import Array
from jaxgrad.inr._engine import _waves

__all__ = ["weak_square"]


def weak_square(residuals: Array) -> Array:
    r"""Return the mean square of the gradient of the even field whose Laplacian the residuals are.

    .. math:: \frac{1}{H W C} \sum_{k \ne 0} \frac{\hat r_k^2}{|k|^2}

    with the cosine transform of an even field (DCT-II) and its wave numbers :math:`k` in units of the coordinates. A
    Laplacian is made of short waves: of the astronaut at 256 pixels they are a thousand times as large as the long
    ones, which the plain mean square, and every noise of drawing points, lets go. So a fit by it ends at 11 dB.

    Args:
        residuals: At the points of a lattice with the picture's spacing, of shape ``(H, W, C)``.

    Returns:
        The square, of shape ``()``.
    """
    amplitudes = _waves.cosines(_waves.cosines(residuals, 0), 1)
    sizes = residuals.shape[:2]
    # neighbours of a lattice lie as far apart as pixels, whose outer centres are 2 apart
    square = sum(_waves.frequencies(n, 2 / (n - 1), axis, residuals) ** 2 for axis, n in enumerate(sizes))
    # over the centres a wave has the mean square 1/2 along an axis, and what is constant 1
    halves = (jnp.where(jnp.arange(n) == 0, 1, 0.5).astype(residuals.dtype) for n in sizes)
    down, across = (_waves.along(half, axis, 3) for axis, half in enumerate(halves))
    # the constant has no Laplacian, and counts for nothing
    weights = down * across / jnp.where(square > 0, square, jnp.inf)
    return jnp.sum(weights * amplitudes**2) / residuals.shape[-1]
