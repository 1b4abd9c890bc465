"""How far several losses lie along a ray, and how far from it."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Tree
from jaxgrad.multi_loss._preferences import SHARES
from jaxgrad.multi_loss._vector import coefficients, unit, vector

__all__ = ["pbi"]


@jit(non_negative=("penalty",), checks={"weights": SHARES})
def pbi(losses: Tree, *, weights: Tree, penalty: ArrayLike, reference: Tree | None = None) -> Array:
    r"""Join several losses into one by penalty-based boundary intersection (PBI).

    .. math:: d_1 + \theta\, d_2, \qquad d_1 = (L - z)^\top \hat w, \qquad d_2 = \|L - z - d_1 \hat w\|, \qquad
              \hat w = w / \|w\|

    :math:`d_1` is how far the losses lie from the reference along the direction of the weights, and :math:`d_2` how far
    from that direction.

    Args:
        losses: ``K`` losses: an array of shape ``(K,)``, or a tuple, list or dictionary of scalars.
        weights: The direction :math:`w`, one number for each loss, not negative and not all zero, of shape ``(K,)``
            or a tree like ``losses``.
        penalty: The factor of the distance from it, :math:`\theta`, not negative; 5 in the paper.
        reference: Where the direction starts, :math:`z`, the least that each loss can be, in the same form; ``None``:
            zeros.

    Returns:
        The joined loss, a scalar in float32 at the least. Losses on the direction, to rounding, have the distance 0,
        with the derivative 0: one of the subgradients, of which there are many. NaN where traced weights
        are negative, NaN, infinite or all zero.

    Raises:
        TypeError: If a loss is no real floating-point number, or the others are no real numbers.
        ValueError: If there is no loss, a loss is no scalar, there is not one weight for each loss, numbers of Python
            or NumPy among them mean nothing, or ``penalty`` is a negative number of Python.

    Cost:
        ``K`` operations beside the losses, and one backward for all of them.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> losses = jnp.array([4.0, 3.0])
        >>> jaxgrad.multi_loss.pbi(losses, weights=jnp.array([1.0, 0.0]), penalty=5.0).item()
        19.0

    References:
        Zhang and Li (2007), MOEA/D: a multiobjective evolutionary algorithm based on decomposition, IEEE Transactions
        on Evolutionary Computation 11, section III.C. TorchJD adds 1e-12 below the root; here nothing is added.
    """
    _check.number(penalty, "penalty")
    values = vector(losses)
    from_start = values - coefficients(reference, "reference", values, 0.0, losses)
    direction = unit(SHARES.or_nan(coefficients(weights, "weights", values, 1.0, losses)))
    along = jnp.sum(from_start * direction)
    across = from_start - along * direction
    # what is left by the rounding of the products has no direction of its own
    least = values.size * jnp.finfo(values.dtype).eps * lax.stop_gradient(_tree.scaled_norm(from_start))
    is_across = lax.stop_gradient(_tree.scaled_norm(across)) > least
    apart = _tree.scaled_norm(jnp.where(is_across, across, jnp.zeros_like(across)))
    return along + jnp.asarray(penalty).astype(values.dtype) * apart
