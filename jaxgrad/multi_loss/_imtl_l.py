"""Several losses joined by learned scales, under which all are 1."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxgrad._types import Array
from jaxgrad.multi_loss._stateful import Scalarizer, makes, of_logarithms

__all__ = ["imtl_l"]


class ImtlLState(NamedTuple):
    """The state of `imtl_l`."""

    log_scales: Array
    """Of shape ``(K,)``, zeros at first."""
    optimizer: Any
    """The state of their optimizer."""


@makes(Scalarizer)
def imtl_l(*, optimizer: Any) -> Scalarizer:
    r"""Build a scalarizer that learns a scale for each loss: impartial multi-task learning, loss balance (IMTL-L).

    .. math:: \sum_{k=1}^K e^{s_k} L_k - s_k

    Where :math:`s_k` has settled the scaled losses are all 1. At first their sum is plain. It is twice `uncertainty` of
    the negative :math:`s`; the two move alike where the optimizer does not see the factor, as Adam does not.

    Args:
        optimizer: An optax transformation that moves the logarithms of the scales, usually the network's own: both then
            move as if they were one set of parameters. With ``optax.set_to_zero()`` they stay, and are yours to move:
            the value is differentiable by ``state.log_scales`` too.

    Returns:
        A `Scalarizer`: ``init(num_losses)``, and ``update(losses, state) -> (value, state)``, whose state has
        ``log_scales`` and ``optimizer``. Losses are to be positive; the value may be negative.

    Raises:
        TypeError: If ``optimizer`` is no optax transformation; and in ``update`` if a loss is no real floating-point
            number.
        ValueError: In ``update`` if there are not as many losses as in ``init``, or a loss is no scalar.

    Cost:
        ``K`` operations beside the losses, and one backward for all of them.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import jaxgrad
        >>> scalarizer = jaxgrad.multi_loss.imtl_l(optimizer=optax.sgd(0.1))
        >>> state = scalarizer.init(2)
        >>> for _ in range(300):
        ...     value, state = scalarizer.update(jnp.array([4.0, 0.25]), state)
        >>> jnp.exp(state.log_scales).round(2).tolist()
        [0.25, 4.0]

    References:
        Liu et al. (2021), Towards impartial multi-task learning, ICLR, section 3.2 and algorithm 1.
    """
    return of_logarithms(optimizer, _joined, ImtlLState)


def _joined(values: Array, logs: Array) -> Array:
    """Return the joined loss."""
    return jnp.sum(jnp.exp(logs) * values - logs)
