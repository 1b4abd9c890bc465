"""The shortest weighted mean of several gradients."""

from __future__ import annotations

from jax.typing import ArrayLike

from jaxgrad._jit import jit
from jaxgrad._types import Array
from jaxgrad.multi_loss._engine._cone import shortest
from jaxgrad.multi_loss._engine._gram import checked, finished, of_unit_rows

__all__ = ["mgda"]


@jit()
def mgda(gram: ArrayLike) -> Array:
    r"""Weigh several gradients by the multiple-gradient descent algorithm: the shortest of their weighted means.

    .. math:: \min_{w \ge 0, \sum_k w_k = 1} \|\textstyle\sum_k w_k g_k\|^2 = w^\top G w

    The vector has the same product with every gradient of positive weight, and no smaller one with the others: a step
    along it lowers all losses, until it is zero where no direction does. Short gradients get large weights.

    The weights are exact, as is their derivative: the support is found among all of them up to 8 losses, and beyond by
    accelerated projected gradients that stop by a duality gap.

    Args:
        gram: The inner products of the gradients, of shape ``(K, K)``; for a stack use `jax.vmap`.

    Returns:
        The weights, of shape ``(K,)``, of sum 1. NaN if a number of ``gram`` is NaN or infinite. Where gradients
        depend on each other other weights may give the same vector.

    Raises:
        TypeError: If ``gram`` is no array of real floating-point numbers.
        ValueError: If ``gram`` is not square.

    Cost:
        That of a plain gradient or less: a few operations on ``(2^K, K, K)`` numbers up to 8 losses.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> rows = jnp.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
        >>> weights = jaxgrad.multi_loss.mgda(rows @ rows.T)
        >>> bool(jnp.allclose(weights, jnp.array([0.6, 0.4])))
        True
        >>> bool(jnp.allclose(weights @ rows, jnp.array([0.0, 1.0, 1.0]), atol=1e-6))
        True

    References:
        Desideri (2012), Multiple-gradient descent algorithm, Comptes Rendus Mathematique 350;
        Sener and Koltun (2018), Multi-task learning as multi-objective optimization, NeurIPS. Their solver, Frank and
        Wolfe's, stops after 100 steps or at a step of 1e-3: up to 3e-3 away.
    """
    matrix = checked(gram)
    return finished(shortest(of_unit_rows(matrix)), matrix, gram)
