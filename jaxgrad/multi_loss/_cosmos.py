"""A weighted sum of several losses, less the cosine between losses and weights."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check
from jaxgrad._jit import jit
from jaxgrad._types import Array, Tree
from jaxgrad.multi_loss._preferences import SHARES
from jaxgrad.multi_loss._vector import coefficients, unit, vector

__all__ = ["cosmos"]


@jit(non_negative=("penalty",), checks={"weights": SHARES})
def cosmos(losses: Tree, *, weights: Tree, penalty: ArrayLike) -> Array:
    r"""Join several losses into one, their weighted sum less the cosine between losses and weights (COSMOS).

    .. math:: r^\top L - \lambda\, \frac{r^\top L}{\|r\| \|L\|}

    The cosine draws the losses to the ray along the weights :math:`r`, which are drawn anew for each batch, from a
    Dirichlet distribution, and given to the network as an input: one network then holds the whole front.

    Args:
        losses: ``K`` losses: an array of shape ``(K,)``, or a tuple, list or dictionary of scalars.
        weights: The preferences :math:`r`, one for each loss, not negative and not all zero, of shape ``(K,)`` or a
            tree like ``losses``.
        penalty: The factor of the cosine, :math:`\lambda`, not negative, in the units of the weighted sum. In the paper
            from 0.01 to 8.

    Returns:
        The joined loss, a scalar in float32 at the least; it may be negative. Losses that are all zero have the cosine
        0, with the derivative 0. NaN where traced weights are negative, NaN, infinite or all zero.

    Raises:
        TypeError: If a loss is no real floating-point number, or the weights are no real numbers.
        ValueError: If there is no loss, a loss is no scalar, there is not one weight for each loss, numbers of Python
            or NumPy among them mean nothing, or ``penalty`` is a negative number of Python.

    Cost:
        ``K`` operations beside the losses, and one backward for all of them.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> losses = jnp.array([4.0, 3.0])
        >>> round(jaxgrad.multi_loss.cosmos(losses, weights=jnp.array([1.0, 0.0]), penalty=1.0).item(), 4)
        3.2

    References:
        Ruchte and Grabocka (2021), Scalable Pareto front approximation for deep multi-objective learning, ICDM,
        equation 5.
    """
    _check.number(penalty, "penalty")
    values = vector(losses)
    preferences = SHARES.or_nan(coefficients(weights, "weights", values, 1.0, losses))
    cosine = jnp.sum(unit(preferences) * unit(values))
    return jnp.sum(preferences * values) - jnp.asarray(penalty).astype(values.dtype) * cosine
