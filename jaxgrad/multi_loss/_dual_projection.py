"""The mean of several gradients, projected so that it conflicts with none."""

from __future__ import annotations

from jax.typing import ArrayLike

from jaxgrad._jit import jit
from jaxgrad._types import Array
from jaxgrad.multi_loss._engine._cone import nearest
from jaxgrad.multi_loss._engine._gram import checked, finished, of_unit_rows
from jaxgrad.multi_loss._preferences import FINITE

__all__ = ["dual_projection"]


@jit(checks={"preferences": FINITE})
def dual_projection(gram: ArrayLike, *, preferences: ArrayLike | None = None) -> Array:
    r"""Weigh several gradients so that their mean is moved as little as harms no loss (DualProj).

    .. math:: w = \arg\min_{u \ge p} u^\top G u

    The vector is the one nearest to the mean among those whose product with no gradient is negative.

    Args:
        gram: The inner products of the gradients, of shape ``(K, K)``; for a stack use `jax.vmap`.
        preferences: The weights of the vector that is projected, of shape ``(K,)``; ``None``: 1/K each, the mean.
            Of any sign: with a negative one what comes near to raising that loss, and raises none. Zeros give zeros.

    Returns:
        The weights, of shape ``(K,)``, none below ``preferences``. NaN if a number of ``gram`` is NaN or infinite, or
        a traced one of ``preferences``. Where gradients depend on each other other weights may give the same vector.

    Raises:
        TypeError: If ``gram`` is no array of real floating-point numbers, or ``preferences`` are no real numbers.
        ValueError: If ``gram`` is not square, or ``preferences`` has not one number for each loss, or a number of
            Python or NumPy that is NaN or infinite.

    Cost:
        That of a plain gradient or less: a quadratic program of ``K`` variables.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> rows = jnp.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
        >>> weights = jaxgrad.multi_loss.dual_projection(rows @ rows.T)
        >>> (weights @ rows).round(4).tolist()
        [0.555..., 1.111..., 1.111...]

    References:
        Lopez-Paz and Ranzato (2017), Gradient episodic memory for continual learning, NeurIPS, equation 11;
        Quinton and Rey (2024), Jacobian descent for multi-objective optimization, arXiv 2406.16232, proposition 1.
    """
    matrix = checked(gram)
    counts, matrix = FINITE.of(preferences, matrix, 1 / len(matrix))
    unit = of_unit_rows(matrix)
    start = counts * unit.lengths
    raised = nearest(unit.cosines, -(unit.cosines @ start)[None])[0]
    return finished(counts + raised / unit.lengths, matrix, gram)
