"""The gradients' combination that is fair to the losses, in the sense of alpha-fairness."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check
from jaxgrad._jit import jit
from jaxgrad._types import Array
from jaxgrad.multi_loss._engine._cone import is_stationary
from jaxgrad.multi_loss._engine._equilibrium import equilibrium
from jaxgrad.multi_loss._engine._gram import checked, finished, meant, of_unit_rows

__all__ = ["fairgrad"]


@jit(positive=("alpha", "unit"))
def fairgrad(gram: ArrayLike, *, alpha: ArrayLike = 1.0, unit: ArrayLike = 1.0) -> Array:
    r"""Weigh several gradients by FairGrad: the direction in which the slopes of the losses are alpha-fair.

    .. math:: G w = w^{-1/\alpha}, \quad w > 0

    With ``alpha`` 1 the product of the slopes is largest, as in `nash_mtl`, whose weights are these but for a factor.
    Near 0 it is their sum, that of the mean gradient; with a large ``alpha`` the slopes become equal. The equation
    has a solution unless some weighted mean of the gradients is zero: no direction lowers all losses then, and the
    weights are 0. A gradient of zeros takes no part, and has the weight 0.

    Args:
        gram: The inner products of the gradients, of shape ``(K, K)``; for a stack use `jax.vmap`.
        alpha: The kind of fairness, a positive number. For 0 write `mean_weights`.
        unit: How many times as long as ``gram`` says the gradients are, for those whose squares its dtype does not
            hold; `aggregated_gradient` gives it.

    Returns:
        The weights, of shape ``(K,)``, not negative. NaN if a number of ``gram`` is NaN or infinite, or a traced
        ``alpha`` or ``unit`` is NaN or not positive. Gradients that are s times as long give a vector that is
        ``s^((1 - alpha) / (1 + alpha))`` times as long.

    Raises:
        TypeError: If ``gram`` is no array of real floating-point numbers, or an option is no real number.
        ValueError: If ``gram`` is not square, or ``alpha`` or ``unit`` is not positive.

    Cost:
        That of a plain gradient or less: some ten inverses of a matrix of ``(K, K)``.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> rows = jnp.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
        >>> weights = jaxgrad.multi_loss.fairgrad(rows @ rows.T, alpha=1.0)
        >>> (weights @ rows).round(4).tolist()
        [0.076..., 0.998..., 0.998...]

    References:
        Ban and Ji (2024), Fair resource allocation in multi-task learning, ICML, equation 4. The authors, and TorchJD,
        minimise the squares of its residual with absolute tolerances, which is 32% off for gradients that are 1,000
        times shorter; here it is solved by Newton's method on a convex function.
    """
    for name, value in (("alpha", alpha), ("unit", unit)):
        _check.number(value, name)
    matrix = checked(gram)
    power, unit = 1 / jnp.asarray(alpha).astype(matrix.dtype), jnp.asarray(unit).astype(matrix.dtype)
    matrix = meant(matrix, (power > 0) & (unit > 0))
    rows = of_unit_rows(matrix)
    occupied = rows.occupied()
    is_still = is_stationary(occupied)
    solvable = jnp.where(is_still, jnp.eye(len(matrix), dtype=matrix.dtype), occupied.cosines)
    # in units of the longest gradient; y = length w turns the equation into C y = length^(p - 1) y^-p
    longest = rows.longest()
    lengths = jnp.where(rows.is_zero, jnp.ones_like(rows.lengths), rows.lengths / longest)
    solved = equilibrium(solvable, lengths ** (power - 1), power) / lengths
    solved = jnp.where(rows.is_zero | is_still, jnp.zeros_like(solved), solved)
    # one length after the other: their product may be out of range where its root is not
    degree = -2 / (1 + power)
    return finished(solved * longest**degree * unit**degree, matrix, gram)
