"""Gradients from which what conflicts with the others is taken out, one after another."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxgrad import _check
from jaxgrad._jit import jit
from jaxgrad._types import Array, Key
from jaxgrad.multi_loss._engine._gram import checked, finished, of_unit_rows

__all__ = ["orders", "pcgrad"]


@jit()
def pcgrad(gram: ArrayLike, *, key: Key) -> Array:
    r"""Weigh several gradients by PCGrad: from each its conflicts with the others are projected out, in random order.

    .. math::

        v_k \leftarrow v_k - \frac{\min(v_k \cdot g_j, 0)}{\|g_j\|^2} g_j \quad\text{for all } j \ne k,
        \qquad w: \sum_k v_k = \sum_k w_k g_k

    Each ``v_k`` starts as the gradient of loss ``k``. It is projected against the gradients as they were given, not
    those that were projected already, in an order of its own.

    Args:
        gram: The inner products of the gradients, of shape ``(K, K)``; for a stack use `jax.vmap`.
        key: A random key; a new one for each step. With two losses there is but one order.

    Returns:
        The weights, of shape ``(K,)``: those of the sum, as in the paper's algorithm. NaN if a number of ``gram`` is
        NaN or infinite.

    Raises:
        TypeError: If ``gram`` is no array of real floating-point numbers, or ``key`` is no random key.
        ValueError: If ``gram`` is not square.

    Cost:
        That of a plain gradient or less: ``K`` times ``K`` projections in the small matrix.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> rows = jnp.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
        >>> weights = jaxgrad.multi_loss.pcgrad(rows @ rows.T, key=jax.random.key(0))
        >>> (weights @ rows).round(4).tolist()
        [0.584..., 3.801..., 3.801...]

    References:
        Yu et al. (2020), Gradient surgery for multi-task learning, NeurIPS, algorithm 1.
    """
    _check.key(key, "key")
    matrix = checked(gram)
    unit = of_unit_rows(matrix).moving()

    def project(start: Array, order: Array) -> Array:
        def step(i: Any, weights: Array) -> Array:
            other = jnp.arange(len(matrix)) == order[i]
            product = jnp.sum(jnp.where(other, unit.cosines @ weights, jnp.zeros_like(weights)))
            return jnp.where(other, weights - jnp.minimum(product, jnp.zeros_like(product)), weights)

        return lax.fori_loop(0, len(matrix) - 1, step, start)

    starts = jnp.diag(unit.lengths) + 0 * unit.cosines
    apart = jax.vmap(project)(starts, orders(key, len(matrix))) if len(matrix) > 1 else starts
    return finished(jnp.sum(apart, axis=0) / unit.lengths, matrix, gram)


def orders(key: Key, count: int) -> Array:
    """Draw, for each row, the order in which it meets the others, of shape ``(count, count - 1)``."""
    others = np.array([[j for j in range(count) if j != k] for k in range(count)])
    return jax.vmap(jax.random.permutation)(jax.random.split(key, count), jnp.asarray(others))
