"""Several losses joined by their learned variances."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxgrad._types import Array
from jaxgrad.multi_loss._stateful import Scalarizer, makes, of_logarithms

__all__ = ["uncertainty"]


class UncertaintyState(NamedTuple):
    """The state of `uncertainty`."""

    log_variances: Array
    """Of shape ``(K,)``, zeros at first."""
    optimizer: Any
    """The state of their optimizer."""


@makes(Scalarizer)
def uncertainty(*, optimizer: Any) -> Scalarizer:
    r"""Build a scalarizer that learns a variance for each loss (homoscedastic uncertainty).

    .. math:: \sum_{k=1}^K \tfrac12 e^{-s_k} L_k + \tfrac12 s_k, \qquad s_k = \log \sigma_k^2

    Where a logarithm :math:`s_k` has settled the variance is the loss itself, so that each loss has the weight
    :math:`1 / (2 L_k)`. What is learned are the logarithms, which may be any numbers, as may be the value: it is
    negative where losses are small.

    Args:
        optimizer: An optax transformation that moves the log-variances, usually the network's own: both then move as if
            they were one set of parameters. With ``optax.set_to_zero()`` they stay, and are yours to move: the value is
            differentiable by ``state.log_variances`` too.

    Returns:
        A `Scalarizer`: ``init(num_losses)``, and ``update(losses, state) -> (value, state)``, whose state has
        ``log_variances`` and ``optimizer``.

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
        >>> scalarizer = jaxgrad.multi_loss.uncertainty(optimizer=optax.sgd(0.1))
        >>> state = scalarizer.init(2)
        >>> for _ in range(300):
        ...     value, state = scalarizer.update(jnp.array([4.0, 0.25]), state)
        >>> jnp.exp(state.log_variances).round(2).tolist(), round(value.item(), 2)
        ([4.0, 0.25], 1.0)

    References:
        Kendall, Gal and Cipolla (2018), Multi-task learning using uncertainty to weigh losses for scene geometry and
        semantics, CVPR, equations 5 and 7, and section 3.2 (log-variances).
    """
    return of_logarithms(optimizer, _joined, UncertaintyState)


def _joined(values: Array, logs: Array) -> Array:
    """Return the joined loss."""
    return jnp.sum(0.5 * jnp.exp(-logs) * values + 0.5 * logs)
