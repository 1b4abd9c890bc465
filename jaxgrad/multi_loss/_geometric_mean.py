"""The geometric mean of several losses."""

from __future__ import annotations

import jax.numpy as jnp

from jaxgrad._jit import jit
from jaxgrad._types import Array, Tree
from jaxgrad.multi_loss._vector import vector

__all__ = ["geometric_mean"]


@jit()
def geometric_mean(losses: Tree) -> Array:
    r"""Join several losses into one, their geometric mean (the geometric loss strategy).

    .. math:: \Big( \prod_{k=1}^K L_k \Big)^{1/K}

    Each loss counts by its relative change, whatever its scale: the gradient is that of the mean logarithm, times the
    value.

    Args:
        losses: ``K`` losses, none negative: an array of shape ``(K,)``, or a tuple, list or dictionary of scalars.

    Returns:
        The joined loss, a scalar in float32 at the least, taken through the mean of the logarithms, so that a product
        that is out of range does no harm. It is NaN where a loss is negative. Where a loss is 0 it is 0, the least it
        can be, and is given the derivative 0: that of the root is infinite there. An infinite loss makes it infinite,
        beside a loss of 0 too.

    Raises:
        TypeError: If a loss is no real floating-point number.
        ValueError: If there is no loss, or a loss is no scalar.

    Cost:
        ``K`` operations beside the losses, and one backward for all of them.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> round(jaxgrad.multi_loss.geometric_mean({"digit": 2.0, "parity": 8.0}).item(), 4)
        4.0

    References:
        Chennupati et al. (2019), MultiNet++: multi-stream feature aggregation and geometric loss strategy for
        multi-task learning, CVPR Workshops, equation 4.
    """
    values = vector(losses)
    is_zero = values == 0
    # the value 1 in the place of 0, whose logarithm has an infinite derivative
    mean = jnp.exp(jnp.mean(jnp.log(jnp.where(is_zero, jnp.ones_like(values), values))))
    # a zero must not hide a sick loss
    return jnp.where(jnp.any(is_zero) & jnp.isfinite(mean), jnp.zeros_like(mean), mean)
