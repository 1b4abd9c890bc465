"""The gradients that lie closest to the others."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxgrad import _check
from jaxgrad._jit import jit
from jaxgrad._types import Array
from jaxgrad.multi_loss._engine._cone import unit_of
from jaxgrad.multi_loss._engine._gram import checked, finished

__all__ = ["krum"]


@jit("num_byzantine", "num_selected")
def krum(gram: ArrayLike, *, num_byzantine: int, num_selected: int = 1) -> Array:
    r"""Weigh several gradients by Krum, or Multi-Krum: those that lie closest to their neighbours count, no other does.

    .. math:: s_k = \sum_{j \in N(k)} \|g_k - g_j\|^2, \qquad |N(k)| = K - f - 2

    ``N(k)`` are the nearest gradients to ``g_k``. Those with the ``num_selected`` smallest scores are averaged: up to
    ``f`` gradients that are sent by a liar have no hold on the result.

    Args:
        gram: The inner products of the gradients, of shape ``(K, K)``; for a stack use `jax.vmap`.
        num_byzantine: How many gradients ``f`` may be wrong; at most ``K - 3``. Static.
        num_selected: How many gradients are averaged. Static.

    Returns:
        The weights, of shape ``(K,)``, ``1 / num_selected`` or 0, with the derivative 0. NaN if a number of ``gram`` is
        NaN or infinite: a gradient that is no number is for the caller to drop.

    Raises:
        TypeError: If ``gram`` is no array of real floating-point numbers, or a number of gradients is no integer.
        ValueError: If ``gram`` is not square, or there are too few gradients.

    Cost:
        No gradient: a sort of ``K`` rows of ``K``.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> rows = jnp.array([[1.0, 0.0], [1.1, 0.0], [0.9, 0.1], [1.0, -0.1], [-90.0, 7.0]])
        >>> jaxgrad.multi_loss.krum(rows @ rows.T, num_byzantine=1).tolist()
        [1.0, 0.0, 0.0, 0.0, 0.0]

    References:
        Blanchard et al. (2017), Machine learning with adversaries, NeurIPS, section 4. TorchJD adds up distances in the
        place of their squares.
    """
    matrix = checked(gram)
    count = len(matrix)
    num_byzantine = _check.count(num_byzantine, "num_byzantine")
    num_selected = _check.count(num_selected, "num_selected", least=1, most=count)
    if count < num_byzantine + 3:
        message = f"gram must be of at least num_byzantine + 3 = {num_byzantine + 3} gradients; got {count}"
        raise ValueError(message)
    scaled = lax.stop_gradient(matrix / unit_of(jnp.diagonal(matrix)))
    squares = jnp.diagonal(scaled)[:, None] + jnp.diagonal(scaled)[None] - 2 * scaled
    apart = jnp.where(jnp.eye(count, dtype=bool), jnp.full_like(squares, jnp.inf), squares)
    scores = jnp.sum(jnp.sort(apart, axis=1)[:, : count - num_byzantine - 2], axis=1)
    chosen = jnp.argsort(scores)[:num_selected]
    weights = jnp.sum(jnp.arange(count)[None] == chosen[:, None], axis=0).astype(matrix.dtype) / num_selected
    return finished(weights, matrix, gram)
