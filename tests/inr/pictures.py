"""Pictures whose derivatives are known, and the four photographs, prepared as everywhere in this project."""

import functools

import jax.numpy as jnp
import numpy as np

__all__ = ["PHOTOGRAPHS", "Waves", "grid", "photograph"]

PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "camera")


class Waves:
    """A sum of all cosines that a picture of this shape can hold, with amplitudes drawn at random."""

    def __init__(self, height, width, channels=2, seed=0):
        self.shape = height, width
        self.amplitudes = np.random.default_rng(seed).normal(size=(height, width, channels))

    def at(self, points):
        """Return values, gradients and Laplacians at points, each wave by its own formula, in a loop over waves."""
        points = np.asarray(points)
        values, by_x, by_y, laplacians = (np.zeros((len(points), self.amplitudes.shape[-1])) for _ in range(4))
        for row, k in np.ndindex(self.shape):
            (x, dx, w), (y, dy, v) = (
                self._wave(points[:, axis], wave, size)
                for axis, wave, size in ((0, k, self.shape[1]), (1, row, self.shape[0]))
            )
            amplitude = self.amplitudes[row, k]
            values += (x * y)[:, None] * amplitude
            by_x += (dx * y)[:, None] * amplitude
            by_y += (x * dy)[:, None] * amplitude
            laplacians -= (x * y)[:, None] * amplitude * (w**2 + v**2)
        return values, np.stack([by_x, by_y], -1), laplacians

    def picture(self):
        """Return the values at the pixels, of shape (H, W, C)."""
        return self.at(grid(*self.shape))[0].reshape(self.amplitudes.shape)

    @staticmethod
    def _wave(x, k, size):
        frequency = np.pi * k * (size - 1) / (2 * size)
        phase = frequency * (x + size / (size - 1))
        return np.cos(phase), -frequency * np.sin(phase), frequency


def grid(height, width):
    """Return the pixels' centres, row by row."""
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    return np.stack([x, y], -1).reshape(-1, 2)


@functools.cache
def photograph(name, size):
    """Return one of scikit-image's pictures: cut to a centred square first, then resized; values from 0 to 1."""
    from skimage import data
    from skimage.transform import resize

    image = getattr(data, name)()
    image = image if image.ndim == 3 else image[..., None]
    short = min(image.shape[:2])
    top, left = ((side - short) // 2 for side in image.shape[:2])
    square = image[top : top + short, left : left + short]
    return jnp.asarray(np.asarray(resize(square, (size, size), anti_aliasing=True), np.float64))
