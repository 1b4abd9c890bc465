"""Which losses pull against each other, read off the inner products of their gradients."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array
from jaxgrad.multi_loss._engine._gram import checked

__all__ = ["Conflicts", "conflicts"]


class Conflicts(NamedTuple):
    """How the gradients of several losses lie to each other."""

    cosines: Array
    """Of the angle between each two, of shape ``(K, K)``; 0 where one is zero, whose direction is not known."""
    magnitudes: Array
    """Their norms, of shape ``(K,)``."""
    magnitude_similarity: Array
    """``2 a b / (a^2 + b^2)`` of each two norms: 1 where they are equal, 0 where one is zero, 1 where both are."""
    alignment: Array
    """``2 |mean of the unit vectors|^2 - 1``: 1 where all point one way, the cosine of two, -1 where they cancel; a
    zero gradient is a vector of zeros in that mean."""
    conflicting: Array
    """Which pairs pull against each other: whose cosine is negative, of shape ``(K, K)``."""


@jit()
def conflicts(gram: ArrayLike) -> Conflicts:
    r"""Say which losses pull against each other, from the inner products of their gradients.

    .. math:: \cos_{k l} = \frac{G_{k l}}{\sqrt{G_{k k} G_{l l}}}, \qquad
              \text{alignment} = 2\, \Big\| \frac1K \sum_k \frac{g_k}{\|g_k\|} \Big\|^2 - 1

    Args:
        gram: The matrix of `gram`, of shape ``(K, K)``: ``multi_loss.conflicts(multi_loss.gram(losses_fn, params))``.

    Returns:
        `Conflicts`: ``cosines``, ``magnitudes``, ``magnitude_similarity``, ``alignment`` and ``conflicting``. The
        cosines are right whatever the scale of the losses. A gradient that is not finite has NaN for its cosines, and
        so has the alignment. `draw_conflicts` makes a picture of it.

    Raises:
        ValueError: If ``gram`` is no square matrix.
        TypeError: If it is no real floating-point array.

    Cost:
        About ``20 K^2`` operations.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> found = jaxgrad.multi_loss.conflicts(jnp.array([[4.0, -1.0], [-1.0, 1.0]]))
        >>> found.cosines[0].tolist(), found.magnitudes.tolist(), found.alignment.item()
        ([1.0, -0.5], [2.0, 1.0], -0.5)
        >>> found.conflicting.tolist()
        [[False, True], [True, False]]

    References:
        Yu et al. (2020), Gradient surgery for multi-task learning, NeurIPS, definitions 1 and 2;
        Wang et al. (2025), Gradient alignment in physics-informed neural networks, arXiv:2502.00604 (the score).
    """
    matrix = checked(gram)
    norms = _tree.safe_sqrt(jnp.diagonal(matrix))
    # what is finite over infinity would be 0, the cosine of a right angle
    known = jnp.where(jnp.isinf(norms), jnp.full_like(norms, jnp.nan), norms)
    safe = jnp.where(norms == 0, jnp.ones_like(norms), known)
    # one norm after the other: their product may leave the range that the matrix is in
    cosines = matrix / safe[:, None] / safe[None]
    similar = jnp.minimum(safe[:, None], safe[None]) / jnp.maximum(safe[:, None], safe[None])
    is_zero = norms == 0
    similarity = jnp.where(is_zero[:, None] ^ is_zero[None], jnp.zeros_like(similar), 2 * similar / (1 + similar**2))
    apart = ~jnp.eye(len(norms), dtype=bool)
    return Conflicts(cosines, norms, similarity, 2 * jnp.mean(cosines) - 1, (cosines < 0) & apart)
