"""Gradients that are turned towards the others, as far as they have agreed before."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._types import Array, Key
from jaxgrad.multi_loss._engine._gram import finished, meant, of_unit_rows
from jaxgrad.multi_loss._pcgrad import orders
from jaxgrad.multi_loss._stateful import Weighting, gram_of, makes, start, unless_sick

__all__ = ["gradvac"]


class GradVacState(NamedTuple):
    """The state of `gradvac`."""

    cosines: Array
    """The running means of the cosines of each gradient, as it was met, with each other: not symmetric."""


@makes(Weighting)
def gradvac(*, beta: ArrayLike = 0.5) -> Weighting:
    r"""Weigh gradients by GradVac, gradient vaccine: each is turned to the others, to the cosines that are usual.

    .. math:: v_k \leftarrow v_k + \frac{\|v_k\| \big(\hat\phi \sqrt{1 - \phi^2} - \phi \sqrt{1 - \hat\phi^2}\big)}
                                       {\|g_j\| \sqrt{1 - \hat\phi^2}}\, g_j
              \quad\text{where}\quad \phi = \cos(v_k, g_j) < \hat\phi_{k j}, \qquad
              \hat\phi_{k j} \leftarrow (1 - \beta)\, \hat\phi_{k j} + \beta \phi

    Each ``v_k`` starts as the gradient of loss ``k`` and meets the others, as they were given, in a random order of its
    own. With running means of 0, at first, it is `pcgrad`.

    Args:
        beta: The share of the newest cosine in the mean, :math:`\beta`, from 0 to 1.

    Returns:
        A `Weighting`: ``init(num_losses)``, and ``update(gram, state, *, key) -> (weights, state)`` with a new random
        key for each step. The weights are those of the sum of all ``v_k``. The state has ``cosines``. A gradient of
        zeros has the cosine 0 with all; a running mean of 1, which nothing that turns can reach, turns nothing. A
        traced ``beta`` that is NaN or negative makes the weights NaN.

    Raises:
        TypeError: If ``beta`` is no number; and in ``update`` if ``gram`` is no array of real floating-point numbers,
            or ``key`` is no random key.
        ValueError: If ``beta`` is not from 0 to 1; and in ``update`` if ``gram`` is not square, or of other than as
            many losses as in ``init``.

    Cost:
        That of a plain gradient or less: ``K`` times ``K`` turns in the small matrix.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> weighting = jaxgrad.multi_loss.gradvac()
        >>> state = weighting.init(2)
        >>> for cosine in (0.8, -0.5):  # the gradients have agreed before
        ...     gram = jnp.array([[1.0, cosine], [cosine, 1.0]])
        ...     weights, state = weighting.update(gram, state, key=jax.random.key(0))
        >>> [round(weight, 3) for weight in weights.tolist()], round(state.cosines[0, 1].item(), 3)
        ([1.878, 1.878], -0.05)

    References:
        Wang, Tsvetkov, Firat and Cao (2021), Gradient vaccine: investigating and improving multi-task optimization in
        massively multilingual models, ICLR, equations 2 and 3 and algorithm 1.
    """
    _check.number(beta, "beta")
    _check.share(beta, "beta")

    def init(num_losses: int) -> GradVacState:
        zeros = start(num_losses)
        return GradVacState(jnp.zeros((zeros.size, zeros.size), zeros.dtype))

    def update(gram: ArrayLike, state: GradVacState, *, key: Key) -> tuple[Array, GradVacState]:
        _check.state(state, GradVacState, "init(num_losses)")
        _check.key(key, "key")
        matrix = meant(gram_of(gram, len(state.cosines)), jnp.asarray(beta) >= 0)
        unit, kept = of_unit_rows(matrix).moving(), state.cosines.dtype
        # every v in units of its gradient, on gradients of length 1: no length enters
        turned, means = jax.vmap(_turned, (None, 0, 0, 0, None))(
            unit.cosines.astype(kept),
            jnp.eye(len(matrix), dtype=kept),
            state.cosines,
            _meetings(key, len(matrix)),
            jnp.asarray(beta, kept),
        )
        weights = (unit.lengths.astype(kept) @ turned) / unit.lengths.astype(kept)
        return finished(weights, matrix, gram), unless_sick(matrix, GradVacState(means), state)

    return Weighting(init, update)


def _meetings(key: Key, count: int) -> Array:
    """Return whom each gradient meets, one after another; nobody where it is alone."""
    return orders(key, count) if count > 1 else jnp.zeros((1, 0), jnp.int32)


def _turned(cosines: Array, first: Array, means: Array, order: Array, beta: Array) -> tuple[Array, Array]:
    """Turn one gradient to the others in an order; return its coefficients and its running means."""

    def meet(carry: tuple[Array, Array], other: Any) -> tuple[tuple[Array, Array], None]:
        shares, means = carry
        own = jnp.arange(len(means)) == other
        along = cosines @ shares
        length = _tree.safe_sqrt(shares @ along)
        cosine = jnp.clip(along[other] / jnp.where(length > 0, length, jnp.ones_like(length)), -1, 1)
        usual = means[other]
        across, usually = _tree.safe_sqrt(1 - cosine**2), _tree.safe_sqrt(1 - usual**2)
        turns = (cosine < usual) & (usually > 0)
        turn = length * (usual * across / jnp.where(turns, usually, jnp.ones_like(usually)) - cosine)
        moved = shares + jnp.where(own & turns, turn, jnp.zeros_like(turn))
        return (moved, jnp.where(own, (1 - beta) * usual + beta * cosine, means)), None

    carry = (first + 0 * cosines[0], means)
    if not order.size:
        return carry
    carry = _sharding.settled(lambda carry: meet(carry, order[0])[0], carry)
    return lax.scan(meet, carry, order)[0]
