"""The vector with the same projection on every gradient."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad._jit import jit
from jaxgrad._types import Array
from jaxgrad.multi_loss._engine._gram import checked, finished, of_unit_rows, rounding
from jaxgrad.multi_loss._engine._inverse import pseudo_inverse

__all__ = ["imtl_g"]


@jit()
def imtl_g(gram: ArrayLike) -> Array:
    r"""Weigh several gradients by IMTL-G: their combination projects alike on all of them.

    .. math:: \frac{g_k \cdot d}{\|g_k\|} \text{ the same for all } k, \qquad d = \sum_k w_k g_k, \quad \sum_k w_k = 1

    Weights may be negative. A gradient of zeros has no direction, and the weight 0. Where the weights that solve the
    conditions add up to 0, none have the sum 1: then all are 0.

    Args:
        gram: The inner products of the gradients, of shape ``(K, K)``; for a stack use `jax.vmap`.

    Returns:
        The weights, of shape ``(K,)``, of sum 1. NaN if a number of ``gram`` is NaN or infinite.

    Raises:
        TypeError: If ``gram`` is no array of real floating-point numbers.
        ValueError: If ``gram`` is not square.

    Cost:
        That of a plain gradient or less: the eigenvalues of a matrix of ``(K, K)``.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> rows = jnp.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
        >>> weights = jaxgrad.multi_loss.imtl_g(rows @ rows.T)
        >>> (weights @ rows).round(4).tolist()
        [0.076..., 1.0, 1.0]

    References:
        Liu et al. (2021), Towards impartial multi-task learning, ICLR, section 3.2. TorchJD takes a sum of weights
        below 1e-12 for zero before they are divided by it, so that gradients of 1e13 give 0.
    """
    matrix = checked(gram)
    unit = of_unit_rows(matrix)
    units = jnp.where(unit.is_zero, jnp.zeros_like(unit.lengths), unit.units())
    # C v = m u with m free: the added square keeps the solution, and gives opposite gradients theirs, where m is 0
    solved = pseudo_inverse(unit.cosines + units[:, None] * units[None]) @ units
    terms = solved * unit.shares()
    total = jnp.sum(terms)
    exists = jnp.abs(total) > rounding(matrix) * jnp.sum(jnp.abs(terms))
    weights = jnp.where(exists, terms, jnp.zeros_like(terms)) / jnp.where(exists, total, jnp.ones_like(total))
    return finished(weights, matrix, gram)
