"""The sum of per-example gradients, each clipped."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgrad import _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, LossFn, Params, Wrt
from jaxgrad.per_example._one import map_examples, subset_of

__all__ = ["ClippedInfo", "clipped_sum"]


class ClippedInfo(NamedTuple):
    """What was measured while a batch of gradients was clipped."""

    losses: Array
    """The loss of every example, of shape ``(B,)``."""
    norms: Array
    """The norm of every example's gradient before clipping, of shape ``(B,)``."""
    fraction_clipped: Array
    """The fraction of examples whose gradient was scaled down."""
    sensitivity: Array
    """The most that one example can change the sum by, in Euclidean norm."""


@jit("loss_fn", "wrt", non_negative=("clip_norm",))
def clipped_sum(
    loss_fn: LossFn, params: Params, *batch: Any, clip_norm: Any, wrt: Wrt = None
) -> tuple[Params, ClippedInfo]:
    r"""Sum the gradients of the examples, each scaled down to a norm of at most ``clip_norm``.

    .. math:: \sum_i \min\!\left(1, \frac{C}{\lVert g_i \rVert}\right) g_i, \qquad
              g_i = \nabla_\theta\, \ell(\theta, x_i)

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example. Static: pass a named function.
        params: Pytree of floating-point arrays.
        *batch: Pytrees whose leaves have the examples along their leading axis, of length ``B``.
        clip_norm: The largest norm ``C``, a number or a traced scalar.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all;
            the others get zeros, and do not enter the norms.

    Returns:
        The clipped sum, a tree like ``params`` (a sum, never a mean), and a `ClippedInfo`.

    Raises:
        ValueError: If ``clip_norm`` is negative, the leading axes differ or are empty, the loss is no scalar, or
            ``wrt`` selects nothing.
        TypeError: If a leaf that counts is no real floating-point array.

    Cost:
        One gradient of the batch and ``B * P`` numbers of memory.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss(params, x):
        ...     return params["w"] @ x
        >>> batch = jnp.array([[3.0, 4.0], [0.0, 0.5]])
        >>> total, info = clipped_sum(loss, {"w": jnp.ones(2)}, batch, clip_norm=1.0)
        >>> [round(float(x), 4) for x in total["w"]], info.norms.tolist(), float(info.fraction_clipped)
        ([0.6, 1.3], [5.0, 0.5], 0.5)

    References:
        Abadi et al. (2016), Deep learning with differential privacy, arXiv:1607.00133, algorithm 1.
    """
    subset = subset_of(loss_fn, params, batch, wrt)
    losses, gradients = map_examples(jax.value_and_grad(subset.fun), subset.active, batch)
    norms = _tree.norms_of_rows(gradients)
    limit = jnp.asarray(clip_norm, norms.dtype)
    # where the norm is 0 or below the limit nothing is scaled, and no 0/0 is formed
    clipped = norms > limit
    scales = jnp.where(clipped, limit / jnp.where(clipped, norms, 1), 1)
    total = jax.tree.map(lambda g: jnp.tensordot(scales.astype(g.dtype), g, 1), gradients)
    info = ClippedInfo(losses, norms, jnp.mean(clipped.astype(norms.dtype)), limit)
    return subset.embed(total), info
