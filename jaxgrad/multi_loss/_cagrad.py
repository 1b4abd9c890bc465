"""The vector near the mean gradient that lowers the loss which falls least."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check
from jaxgrad._jit import jit
from jaxgrad._types import Array
from jaxgrad.multi_loss._engine._ball import farthest_fair
from jaxgrad.multi_loss._engine._gram import checked, finished, meant, of_unit_rows

__all__ = ["cagrad"]


@jit(non_negative=("radius",))
def cagrad(gram: ArrayLike, *, radius: ArrayLike = 0.5) -> Array:
    r"""Weigh several gradients by CAGrad: near their mean, the vector whose worst product with a gradient is best.

    .. math:: \max_d \min_k g_k \cdot d \quad\text{where}\quad \|d - \bar g\| \le c \|\bar g\|

    With radius 0 it is the mean; for a radius below 1 the mean of the losses still falls; as the radius grows it turns
    to the vector of `mgda`. Where the best worst product is 0, since no direction lowers all losses and the ball is
    large enough, many vectors have it; the nearest to the mean is taken, as in `dual_projection`.

    Args:
        gram: The inner products of the gradients, of shape ``(K, K)``; for a stack use `jax.vmap`.
        radius: The radius ``c`` of the ball, in units of the length of the mean gradient, not negative.

    Returns:
        The weights, of shape ``(K,)``, at least 1/K each. NaN if a number of ``gram`` is NaN or infinite, or a traced
        ``radius`` is NaN or negative. Where gradients depend on each other other weights may give the same vector.

    Raises:
        TypeError: If ``gram`` is no array of real floating-point numbers, or ``radius`` is no real number.
        ValueError: If ``gram`` is not square, or ``radius`` is negative.

    Cost:
        That of a plain gradient or less: one elimination of ``(2^K, K, K)`` numbers up to 8 losses.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> rows = jnp.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
        >>> weights = jaxgrad.multi_loss.cagrad(rows @ rows.T, radius=0.5)
        >>> (weights @ rows).round(4).tolist()
        [0.183..., 1.204..., 1.204...]

    References:
        Liu et al. (2021), Conflict-averse gradient descent for multi-task learning, NeurIPS, equation 4. TorchJD
        returns zero where the vector of the dual problem is shorter than 1e-4; that is no point of the ball for c < 1.
    """
    _check.number(radius, "radius")
    matrix = checked(gram)
    reach = jnp.asarray(radius).astype(matrix.dtype)
    matrix = meant(matrix, reach >= 0)
    unit = of_unit_rows(matrix)
    mean = jnp.full_like(unit.lengths, 1 / len(matrix))
    added = farthest_fair(unit, mean * unit.lengths, reach)
    return finished(mean + added / unit.lengths, matrix, gram)
