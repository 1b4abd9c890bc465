"""The mean of each coordinate without its extremes."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxgrad import _check
from jaxgrad._jit import jit
from jaxgrad._types import Array, T
from jaxgrad.multi_loss._rows import count_of

__all__ = ["trimmed_mean"]

NETWORK = 32
"""Up to how many rows are sorted by a fixed network, whose minima and maxima XLA makes one loop over coordinates of."""


@jit("trim")
def trimmed_mean(rows: T, *, trim: int) -> T:
    r"""Combine several gradients by the mean of each coordinate, without its smallest and its largest entries.

    .. math:: d_i = \frac{1}{K - 2 b} \sum_{k = b + 1}^{K - b} g_{(k), i}

    Up to ``b`` gradients that are sent by a liar have no hold on the result; an infinite entry is an extreme. A
    coordinate with a NaN is NaN: a NaN is neither small nor large, and is not dropped without a word.

    Args:
        rows: The gradients, as `gradients` returns them: a tree whose leaves have the losses along a leading axis.
        trim: How many of the smallest, and as many of the largest, are left out, below ``K / 2``. Static.

    Returns:
        The vector, a tree like one row.

    Raises:
        TypeError: If a leaf of ``rows`` is no array of real floating-point numbers, or ``trim`` is no integer.
        ValueError: If the leading axes differ, or nothing is left of ``K`` gradients.

    Cost:
        The memory of all rows, and a sort of ``K`` numbers for each coordinate.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> rows = jnp.array([[1.0, 5.0], [2.0, -900.0], [3.0, 6.0], [400.0, 7.0]])
        >>> jaxgrad.multi_loss.trimmed_mean(rows, trim=1).tolist()
        [2.5, 5.5]

    References:
        Yin et al. (2018), Byzantine-robust distributed learning, ICML, definition 2.
    """
    count = count_of(rows)
    advice = f"of {count} gradients {2 * trim} would be left out" if isinstance(trim, int) else ""
    trim = _check.count(trim, "trim", most=(count - 1) // 2, advice=advice)

    def mean(leaf: Array) -> Array:
        ordered = _sorted(list(leaf)) if count <= NETWORK else list(jnp.sort(leaf, axis=0))
        kept = jnp.mean(jnp.stack(ordered[trim : count - trim]), axis=0)
        return jnp.where(jnp.any(jnp.isnan(leaf), axis=0), jnp.full_like(kept, jnp.nan), kept)

    return jax.tree.map(mean, rows)


def _sorted(rows: list[Array]) -> list[Array]:
    """Sort several arrays entry by entry: Batcher's merges of odd and even entries (Knuth, volume 3, algorithm M)."""
    count, span = len(rows), 1
    while span < count:
        step = span
        while step >= 1:
            for start in range(step % span, count - step, 2 * step):
                for low in range(start, min(start + step, count - step)):
                    if low // (2 * span) == (low + step) // (2 * span):
                        pair = rows[low], rows[low + step]
                        rows[low], rows[low + step] = jnp.minimum(*pair), jnp.maximum(*pair)
            step //= 2
        span *= 2
    return rows
