"""The order of the axes in which two arrays of the same numbers lie."""

import numpy as np

from jaxgrad.verify.judge._leaf import relative
from jaxgrad.verify.judge._tolerances import LIKE_VALUES

__all__ = ["layout_of"]


def layout_of(torch: np.ndarray, jax: np.ndarray) -> tuple[int, ...] | None:
    """Return the axes of a torch array in the order of a JAX array of the same numbers, or ``None``.

    Where several orders fit the shapes, channels of an image go last, and otherwise the better fit of values wins.
    """
    if torch.ndim != jax.ndim or sorted(torch.shape) != sorted(jax.shape):
        return None
    n = torch.ndim
    if n < 2:
        return tuple(range(n))
    same, last = tuple(range(n)), (0, *range(2, n), 1)
    swapped = (1, 0, *range(2, n))
    options = [order for order in (same, last, swapped) if tuple(torch.shape[a] for a in order) == jax.shape]
    options = list(dict.fromkeys(options))
    if not options:
        return None
    if len(options) == 1 or (n == 2 and same in options):
        return same if same in options and n == 2 else options[0]
    errors = [relative(torch.transpose(order), jax) for order in options]
    best = int(np.argmin(errors))
    if errors[best] > LIKE_VALUES and last in options and n >= 4:
        return last
    return options[best]
