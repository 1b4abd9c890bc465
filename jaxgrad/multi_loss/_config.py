"""The vector with the same cosine to every gradient."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad._jit import jit
from jaxgrad._types import Array
from jaxgrad.multi_loss._engine._gram import checked, finished, of_unit_rows
from jaxgrad.multi_loss._engine._inverse import pseudo_inverse
from jaxgrad.multi_loss._preferences import SHARES

__all__ = ["config"]


@jit(checks={"preferences": SHARES})
def config(gram: ArrayLike, *, preferences: ArrayLike | None = None) -> Array:
    r"""Weigh several gradients by ConFIG: the direction at one angle to all of them.

    .. math:: d = \Big(\sum_k g_k \cdot u\Big) u, \qquad u \propto U^+ p

    ``U`` holds the gradients at length 1; the vector is as long as their projections on it add up to. The pseudo-
    inverse goes through the small matrix ``U U^T``, and the weights are those of the gradients. A gradient of zeros
    has the weight 0.

    Args:
        gram: The inner products of the gradients, of shape ``(K, K)``; for a stack use `jax.vmap`.
        preferences: The ratios of the cosines, of shape ``(K,)``, not negative and not all zero; ``None``: all alike. A
            negative cosine, which TorchJD takes, would count against the length, and could turn the whole vector round.

    Returns:
        The weights, of shape ``(K,)``. NaN if a number of ``gram`` is NaN or infinite, or a traced one of
        ``preferences`` is so or negative, or all of these are zero.

    Raises:
        TypeError: If ``gram`` is no array of real floating-point numbers, or ``preferences`` are no real numbers.
        ValueError: If ``gram`` is not square, or ``preferences`` has not one number for each loss, or numbers of Python
            or NumPy that are all zero, or of which one is negative, NaN or infinite.

    Cost:
        That of a plain gradient or less: the eigenvalues of a matrix of ``(K, K)``.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> rows = jnp.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
        >>> weights = jaxgrad.multi_loss.config(rows @ rows.T)
        >>> (weights @ rows).round(4).tolist()
        [0.158..., 2.070..., 2.070...]

    References:
        Liu et al. (2025), ConFIG: towards conflict-free training of physics informed neural networks, ICLR, equation 2.
    """
    matrix = checked(gram)
    counts, matrix = SHARES.of(preferences, matrix, 1.0)
    unit = of_unit_rows(matrix)
    units = unit.units()
    cosines = unit.cosines / units[:, None] / units[None]
    solved = pseudo_inverse(cosines) @ counts
    slopes = cosines @ solved
    square = solved @ slopes
    is_long = square > 0
    solved = jnp.where(is_long & ~unit.is_zero, solved, jnp.zeros_like(solved))
    longest = jnp.max(unit.lengths)
    total = jnp.sum(unit.lengths / longest * units * slopes) / jnp.where(is_long, square, jnp.ones_like(square))
    return finished(solved * total * (longest / unit.lengths) / units, matrix, gram)
