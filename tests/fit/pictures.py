"""Picture files of every kind, written where a test wants them."""

import numpy as np
from PIL import Image

__all__ = ["gradient_picture", "save"]


def gradient_picture(height=20, width=24, channels=3):
    """A smooth picture of bytes, with another slope in each channel."""
    y, x = np.mgrid[:height, :width]
    planes = [40 + 6 * x + 2 * y, 200 - 5 * x, 30 + 8 * y][:channels]
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def save(path, array, **options):
    """Save an array as Pillow does, and return the path."""
    Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array).save(path, **options)
    return path
