"""Several losses weighed by how fast each fell over the last epochs."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxgrad import _check
from jaxgrad._types import Array, Tree
from jaxgrad.multi_loss._stateful import Scalarizer, given, makes, start

__all__ = ["dwa"]


class DwaState(NamedTuple):
    """The state of `dwa`."""

    total: Array
    """The sum of the losses of this epoch so far, those that are finite."""
    seen: Array
    """Of how many steps it is the sum."""
    newer: Array
    """The mean losses of the last epoch."""
    older: Array
    """Those of the epoch before."""
    step: Array
    """How many steps there were."""


@makes(Scalarizer)
def dwa(*, steps_per_epoch: int, temperature: ArrayLike = 2.0) -> Scalarizer:
    r"""Build a scalarizer that weighs losses by how slowly each fell from epoch to epoch: dynamic weight average (DWA).

    .. math:: \sum_{k=1}^K \lambda_k L_k, \qquad
              \lambda_k = K \operatorname{softmax}_k\!\Big(\frac{1}{T} \frac{\bar L_k(t-1)}{\bar L_k(t-2)}\Big)

    :math:`\bar L_k(t)` is the mean of the plain loss, not the weighted one, over epoch :math:`t`. In the first two
    epochs all weights are 1.

    Args:
        steps_per_epoch: How many updates make an epoch; 1 where each step sees all data.
        temperature: The temperature :math:`T`, positive: the larger, the more equal are the weights.

    Returns:
        A `Scalarizer`: ``init(num_losses)``, and ``update(losses, state) -> (value, state)``, whose state has
        ``total``, ``seen``, ``newer``, ``older`` and ``step``. The weights sum to K. A step whose losses are not finite
        counts in no mean; a loss whose mean was 0 has the ratio 1.

    Raises:
        TypeError: If ``steps_per_epoch`` is no Python integer or ``temperature`` no number; and in ``update`` if a loss
            is no real floating-point number.
        ValueError: If ``steps_per_epoch`` is below 1, or ``temperature`` is not positive; and in ``update`` if there
            are not as many losses as in ``init``, or a loss is no scalar.

    Cost:
        ``K`` operations beside the losses, and one backward for all of them.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> scalarizer = jaxgrad.multi_loss.dwa(steps_per_epoch=1, temperature=0.5)
        >>> state = scalarizer.init(2)
        >>> for losses in ([1.0, 1.0], [0.5, 1.0], [0.2, 0.9]):  # the second loss stands still
        ...     value, state = scalarizer.update(jnp.array(losses), state)
        >>> value.item() > 0.2 + 0.9
        True

    References:
        Liu, Johns and Davison (2019), End-to-end multi-task learning with attention, CVPR, equation 7.
    """
    length = _check.count(steps_per_epoch, "steps_per_epoch", least=1)
    _check.number(temperature, "temperature")
    _check.positive(temperature, "temperature")

    def init(num_losses: int) -> DwaState:
        zeros, none = start(num_losses), jnp.zeros((), jnp.int32)
        return DwaState(zeros, none, zeros, zeros, none)

    def update(losses: Tree, state: DwaState) -> tuple[Array, DwaState]:
        _check.state(state, DwaState, "init(num_losses)")
        values = given(losses, state.total)
        weights = _weights(state, length, temperature).astype(values.dtype)
        return jnp.sum(weights * values), _after(state, lax.stop_gradient(values), length)

    return Scalarizer(init, update)


def _weights(state: DwaState, length: int, temperature: ArrayLike) -> Array:
    """Return the weights by the means of the last two epochs; ones where there are not two."""
    known = (state.older != 0) & (state.step >= 2 * length)
    ratio = jnp.where(known, state.newer / jnp.where(known, state.older, 1), 1)
    # equal ratios have equal weights: K times 1/K
    return ratio.size * jax.nn.softmax(ratio / jnp.asarray(temperature, ratio.dtype))


def _after(state: DwaState, values: Array, length: int) -> DwaState:
    """Add losses to the epoch, and end it where it is full."""
    sound, step = jnp.all(jnp.isfinite(values)), state.step + 1
    total = state.total + jnp.where(sound, values, jnp.zeros_like(values)).astype(state.total.dtype)
    seen = state.seen + sound.astype(state.seen.dtype)
    # an epoch without a finite step leaves the means as they are
    mean = jnp.where(seen > 0, total / jnp.maximum(seen, 1).astype(total.dtype), state.newer)
    going = DwaState(total, seen, state.newer, state.older, step)
    ended = DwaState(jnp.zeros_like(total), jnp.zeros_like(seen), mean, state.newer, step)
    return jax.tree.map(lambda new, old: jnp.where(step % length == 0, new, old), ended, going)
