"""A norm in which residuals of a Laplacian weigh as much as those of a gradient."""

import jax.numpy as jnp
import numpy as np

from jaxgrad._types import Array

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
    height, width, _ = residuals.shape
    rows, columns = _cosines(height, residuals.dtype), _cosines(width, residuals.dtype)
    waves = jnp.einsum("kh,hwc,lw->klc", rows, residuals, columns)
    square = _numbers(height)[:, None] ** 2 + _numbers(width)[None, :] ** 2
    # the constant has no Laplacian, and counts for nothing
    weights = np.divide(1, square, out=np.zeros_like(square), where=square > 0)
    return jnp.mean(waves**2 * jnp.asarray(weights, residuals.dtype)[:, :, None])


def _cosines(size: int, dtype: np.dtype) -> Array:
    """Return the matrix of the orthonormal cosine transform."""
    order = np.arange(size)[:, None]
    waves = np.cos(np.pi * order * (np.arange(size)[None, :] + 0.5) / size) * np.where(order == 0, 1, 2**0.5)
    return jnp.asarray(waves / size**0.5, dtype)


def _numbers(size: int) -> np.ndarray:
    """Return the wave numbers: ``pi k`` a domain, which is 2 n / (n - 1) long where the outer centres are 2 apart."""
    return np.pi * np.arange(size) * (size - 1) / (2 * size)
