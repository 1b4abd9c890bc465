"""The mean of several gradients, each projected so that it conflicts with none."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad._jit import jit
from jaxgrad._types import Array
from jaxgrad.multi_loss._engine._cone import nearest
from jaxgrad.multi_loss._engine._gram import checked, finished, of_unit_rows
from jaxgrad.multi_loss._preferences import NOT_NEGATIVE

__all__ = ["upgrad"]


@jit(checks={"preferences": NOT_NEGATIVE})
def upgrad(gram: ArrayLike, *, preferences: ArrayLike | None = None) -> Array:
    r"""Weigh several gradients by UPGrad: project each onto the directions that harm no loss, and average them.

    .. math:: w = \sum_k p_k u_k, \qquad u_k = \arg\min_{u \ge e_k} u^\top G u

    ``u_k`` are the weights of the vector nearest to the gradient of loss ``k`` among those whose product with no
    gradient is negative (the dual cone). Their mean has no negative product either, and is linear in the length of each
    gradient: a loss that is small is not forgotten.

    Args:
        gram: The inner products of the gradients, of shape ``(K, K)``; for a stack use `jax.vmap`.
        preferences: How much each projected gradient counts, of shape ``(K,)``, not negative; ``None``: 1/K each.
            All zero they ask for nothing, and the weights are zero. TorchJD, which does not look at their signs,
            projects each gradient times its preference, which is the same unless one is negative.

    Returns:
        The weights, of shape ``(K,)``. NaN if a number of ``gram`` is NaN or infinite, or a traced one of
        ``preferences`` is so or negative. Where gradients depend on each other other weights may give the same vector.

    Raises:
        TypeError: If ``gram`` is no array of real floating-point numbers, or ``preferences`` are no real numbers.
        ValueError: If ``gram`` is not square, or ``preferences`` has not one number for each loss, or a number of
            Python or NumPy that is negative, NaN or infinite.

    Cost:
        That of a plain gradient or less: ``K`` quadratic programs of ``K`` variables that share their elimination.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> rows = jnp.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
        >>> weights = jaxgrad.multi_loss.upgrad(rows @ rows.T)
        >>> (weights @ rows).round(4).tolist(), (rows @ (weights @ rows) >= 0).tolist()
        ([0.292..., 1.90..., 1.90...], [True, True])

    References:
        Quinton and Rey (2024), Jacobian descent for multi-objective optimization, arXiv 2406.16232, section 3.1 and
        proposition 1. TorchJD adds 1e-4 of the trace to the diagonal; here nothing is added.
    """
    matrix = checked(gram)
    counts, matrix = NOT_NEGATIVE.of(preferences, matrix, 1 / len(matrix))
    unit = of_unit_rows(matrix)
    # u = e + z with z >= 0, in units of the lengths: the program of z has the right-hand side -G e
    projected = jnp.eye(len(matrix), dtype=matrix.dtype) + nearest(unit.cosines, -unit.cosines)
    return finished((counts * unit.lengths) @ projected / unit.lengths, matrix, gram)
