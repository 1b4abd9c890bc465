"""Weights that descend on the length of their vector, drawn to a direction of choice."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding
from jaxgrad._types import Array
from jaxgrad.multi_loss._preferences import SHARES
from jaxgrad.multi_loss._stateful import Weighting, makes, of_two_batches, or_nan, project, start, unless_sick

__all__ = ["sdmgrad"]


class SdmGradState(NamedTuple):
    """The state of `sdmgrad`."""

    weights: Array
    """Of shape ``(K,)``, of sum 1, equal at first: without the preferences."""


@makes(Weighting)
def sdmgrad(
    *,
    strength: ArrayLike = 0.3,
    preferences: Any = None,
    learning_rate: ArrayLike = 10.0,
    momentum: ArrayLike = 0.5,
    num_steps: int = 20,
) -> Weighting:
    r"""Learn weights of a short vector near a direction of choice: direction-oriented descent (SDMGrad).

    .. math:: \min_{w \in \Delta} \tfrac12 \big\| J^\top (w + \lambda \tilde w) \big\|^2, \qquad
              \text{weights} = \frac{w + \lambda \tilde w}{1 + \lambda}

    Some steps of projected descent with momentum, from the weights of the step before, on the slope
    :math:`J_1 J_2^\top (w + \lambda \tilde w)`, whose rows are the gradients of two batches that were drawn apart, so
    that it is right in the mean. The products are taken in units of the mean length of the gradients, so that the step
    does not depend on their scale. As :math:`\lambda` grows the vector becomes that of the preferences.

    Args:
        strength: How strongly the vector is drawn to that of the preferences, :math:`\lambda`, not negative.
        preferences: The direction of choice, :math:`\tilde w`, of shape ``(K,)``, not negative and not all zero;
            ``None``: 1/K each, the mean. For no direction write ``strength=0.0``.
        learning_rate: The step of the weights, positive.
        momentum: The share of the step before, from 0 to below 1.
        num_steps: How many steps of descent an update makes.

    Returns:
        A `Weighting`: ``init(num_losses)``, and ``update(products, state) -> (weights, state)`` with the products
        ``(K, K)`` of the first batch's gradients with the second's, as in `modo`. The state has ``weights``. Where no
        gradient points along itself in both batches they stay. Traced preferences that are negative, NaN, infinite or
        all zero make the weights NaN.

    Raises:
        TypeError: If an option is no number; and in ``update`` if ``products`` is no real floating-point array, or the
            preferences are no real numbers.
        ValueError: If ``learning_rate`` is not positive, ``strength`` negative, ``momentum`` not from 0 to below 1,
            ``num_steps`` below 1, or ``preferences`` are numbers of Python or NumPy that are all zero, or of which one
            is negative, NaN or infinite; and in ``update`` if ``products`` is not square, or there are other than as
            many losses, or preferences, as in ``init``.

    Cost:
        About ``(8 + 2 num_steps) K^2`` operations; the products cost the gradients of both batches.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> rows = jnp.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
        >>> weighting = jaxgrad.multi_loss.sdmgrad(strength=0.0, learning_rate=0.5, num_steps=200)
        >>> weights, state = weighting.update(rows @ rows.T, weighting.init(2))  # those of mgda, as one batch is exact
        >>> weights.round(3).tolist()
        [0.6..., 0.4...]

    References:
        Xiao, Ban and Ji (2023), Direction-oriented multi-objective learning: simple and provable stochastic algorithms,
        NeurIPS, algorithm 1 and section 6.1.
    """
    for name, value, check in (
        ("strength", strength, _check.non_negative),
        ("learning_rate", learning_rate, _check.positive),
        ("momentum", momentum, functools.partial(_check.share, below_one=True)),
    ):
        _check.number(value, name)
        check(value, name)
    SHARES(preferences, "preferences")
    count = _check.count(num_steps, "num_steps", least=1)

    def init(num_losses: int) -> SdmGradState:
        return SdmGradState(start(num_losses, 1.0) / num_losses)

    def update(products: ArrayLike, state: SdmGradState) -> tuple[Array, SdmGradState]:
        _check.state(state, SdmGradState, "init(num_losses)")
        matrix = of_two_batches(products, state.weights)
        pull, share, rate = (jnp.asarray(one, matrix.dtype) for one in (strength, momentum, learning_rate))
        wanted, matrix = SHARES.of(preferences, matrix, 1 / state.weights.size)
        drawn = pull * wanted
        matrix_of_units = _in_units(matrix)

        def step(carry: tuple[Array, Array]) -> tuple[Array, Array]:
            weights, velocity = carry
            velocity = share * velocity + matrix_of_units @ (weights + drawn)
            return project(weights - rate * velocity), velocity

        carry = _sharding.settled(step, (state.weights, jnp.zeros_like(state.weights)))
        found = lax.fori_loop(0, count, lambda _, carry: step(carry), carry)[0]
        weights = (found + drawn) / (1 + pull)
        return or_nan(matrix, weights, products), unless_sick(matrix, SdmGradState(found), state)

    return Weighting(init, update)


def _in_units(matrix: Array) -> Array:
    """Return products in units of the mean length; zeros where no product of a gradient with itself is positive."""
    length = jnp.mean(jnp.sqrt(jnp.maximum(jnp.diagonal(matrix), 0)))
    safe = jnp.where(length > 0, length, jnp.ones_like(length))
    # one length after the other: the square may be out of range
    return jnp.where(length > 0, matrix / safe / safe, jnp.zeros_like(matrix))
