"""The gradients' combination that bargaining ends with."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array
from jaxgrad.multi_loss._engine._cone import is_stationary
from jaxgrad.multi_loss._engine._equilibrium import equilibrium
from jaxgrad.multi_loss._engine._gram import checked, finished, meant, of_unit_rows

__all__ = ["nash_mtl"]


@jit(positive=("max_norm", "unit"))
def nash_mtl(gram: ArrayLike, *, max_norm: ArrayLike | None = 1.0, unit: ArrayLike = 1.0) -> Array:
    r"""Weigh several gradients by Nash-MTL: the solution of Nash's bargaining over the direction.

    .. math:: G' w = 1 / w, \quad w > 0, \qquad G' = G / \|G\|_F

    The relative slopes of the losses have the largest product: a loss counts by how much it gains in percent, and the
    lengths of the gradients do not matter for the direction. The matrix is divided by its norm, as in the authors'
    code, so that the vector is as long as the gradients are, and is then shortened to ``max_norm``. The equation
    has a solution unless some weighted mean of the gradients is zero: no direction lowers all losses then, and the
    weights are 0. A gradient of zeros takes no part, and has the weight 0.

    Args:
        gram: The inner products of the gradients, of shape ``(K, K)``; for a stack use `jax.vmap`.
        max_norm: The largest length of the vector; ``None``: as long as it comes.
        unit: How many times as long as ``gram`` says the gradients are, for those whose squares its dtype does not
            hold; `aggregated_gradient` gives it.

    Returns:
        The weights, of shape ``(K,)``, not negative. NaN if a number of ``gram`` is NaN or infinite, or a
        traced ``max_norm`` or ``unit`` is NaN or not positive.

    Raises:
        TypeError: If ``gram`` is no array of real floating-point numbers, or an option is no real number.
        ValueError: If ``gram`` is not square, or ``max_norm`` or ``unit`` is not positive.

    Cost:
        That of a plain gradient or less: some ten inverses of a matrix of ``(K, K)``.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> rows = jnp.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
        >>> weights = jaxgrad.multi_loss.nash_mtl(rows @ rows.T)
        >>> (weights @ rows).round(4).tolist()
        [0.054..., 0.706..., 0.706...]

    References:
        Navon et al. (2022), Multi-task learning as a bargaining game, ICML, claim 3.1. The authors solve a sequence of
        convex programs for at most 20 rounds and 1e-3; here the equation is solved by Newton's method on a convex
        function.
    """
    limit = jnp.inf if max_norm is None else max_norm
    for name, value in (("max_norm", limit), ("unit", unit)):
        _check.number(value, name)
    matrix = checked(gram)
    most, unit = (jnp.asarray(value).astype(matrix.dtype) for value in (limit, unit))
    matrix = meant(matrix, (most > 0) & (unit > 0))
    rows = of_unit_rows(matrix)
    occupied = rows.occupied()
    is_still = is_stationary(occupied)
    solvable = jnp.where(is_still, jnp.eye(len(matrix), dtype=matrix.dtype), occupied.cosines)
    solved = equilibrium(solvable, jnp.ones_like(rows.lengths), jnp.ones((), matrix.dtype))
    solved = jnp.where(rows.is_zero | is_still, jnp.zeros_like(solved), solved)
    scale = rows.longest()
    # the root of the matrix's norm, in units of the longest gradient: squares of its entries would overflow
    root = _tree.safe_sqrt(_tree.norm(matrix / scale / scale))
    length = scale * root * _tree.safe_sqrt(solved @ rows.cosines @ solved)
    most = most / unit
    kept = jnp.where(length > most, most / jnp.where(length > most, length, jnp.ones_like(length)), 0 * length + 1)
    return finished(solved * (scale / rows.lengths) * (root * kept), matrix, gram)
