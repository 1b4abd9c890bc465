"""The smooth maximum of several losses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxgrad import _check
from jaxgrad._jit import jit
from jaxgrad._types import Array, Tree
from jaxgrad.multi_loss._preferences import SHARES
from jaxgrad.multi_loss._vector import coefficients, vector

__all__ = ["stch"]


@jit(positive=("mu",), checks={"weights": SHARES})
def stch(losses: Tree, *, mu: ArrayLike, weights: Tree | None = None, reference: Tree | None = None) -> Array:
    r"""Join several losses into one, their smooth maximum: smooth Tchebycheff scalarization (STCH).

    .. math:: \mu \log \sum_{k=1}^K \exp\big(w_k (L_k - z_k) / \mu\big)

    Its gradient is a weighted mean of those of :math:`w_k L_k`, the largest with the largest weight. Every weakly
    Pareto optimal point minimises it for some weights as :math:`\mu` goes to 0, where fronts are not convex too.

    Args:
        losses: ``K`` losses: an array of shape ``(K,)``, or a tuple, list or dictionary of scalars.
        mu: How smooth the maximum is, positive and in units of the weighted losses: below their differences it is the
            maximum, far above it their mean.
        weights: The preferences :math:`w`, one for each loss, not negative and not all zero, of shape ``(K,)`` or a
            tree like ``losses``; ``None``: 1/K each.
        reference: What is subtracted, :math:`z`, the least that each loss can be, in the same form; ``None``: zeros.

    Returns:
        The joined loss, a scalar in float32 at the least. It lies between the maximum and ``mu * log(K)`` above it; it
        is NaN where a loss is not finite, or traced weights are negative, NaN, infinite or all zero.

    Raises:
        TypeError: If a loss is no real floating-point number, or the others are no real numbers.
        ValueError: If there is no loss, a loss is no scalar, there is not one weight for each loss, numbers of Python
            or NumPy among them mean nothing, or ``mu`` is a number of Python that is not positive.

    Cost:
        ``K`` operations beside the losses, and one backward for all of them.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> losses = jnp.array([1.0, 3.0])
        >>> [round(jaxgrad.multi_loss.stch(losses, mu=mu, weights=jnp.ones(2)).item(), 3) for mu in (0.01, 1.0)]
        [3.0, 3.127]

    References:
        Lin et al. (2024), Smooth Tchebycheff scalarization for multi-objective optimization, ICML, equation 5 and
        appendix B.1 (the largest is subtracted before the division, so that no exponential overflows).
    """
    _check.number(mu, "mu")
    values = vector(losses)
    shares = SHARES.or_nan(coefficients(weights, "weights", values, 1 / values.size, losses))
    heights = shares * (values - coefficients(reference, "reference", values, 0.0, losses))
    smooth, top = jnp.asarray(mu).astype(values.dtype), lax.stop_gradient(jnp.max(heights))
    value = top + smooth * jax.nn.logsumexp((heights - top) / smooth)
    # a loss of -inf would never be the largest
    return jnp.where(jnp.all(jnp.isfinite(heights)), value, jnp.full_like(value, jnp.nan))
