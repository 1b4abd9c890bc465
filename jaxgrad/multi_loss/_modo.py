"""Weights that descend on the length of their vector, by gradients of two batches."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check
from jaxgrad._types import Array
from jaxgrad.multi_loss._stateful import Weighting, makes, of_two_batches, or_nan, project, start, unless_sick

__all__ = ["modo"]


class ModoState(NamedTuple):
    """The state of `modo`."""

    weights: Array
    """Of shape ``(K,)``, of sum 1, equal at first."""


@makes(Weighting)
def modo(*, learning_rate: ArrayLike = 0.1, regularization: ArrayLike = 0.1) -> Weighting:
    r"""Learn weights by one step of projected descent on the length of their vector (MoDo, double sampling).

    .. math:: \lambda \leftarrow \Pi_\Delta\big(\lambda - \gamma\, (G_1 G_2^\top \lambda + \rho \lambda)\big)

    The rows of :math:`G_1` and :math:`G_2` are the gradients of the losses on two batches that were drawn apart: their
    products are then right in the mean, while those of one batch with itself are too large. :math:`\Pi_\Delta` is the
    projection onto the weights that are not negative and sum to 1. The step that the weights are for may use both
    batches, or a third.

    Args:
        learning_rate: The step of the weights, :math:`\gamma`, positive, in units of one over the squared gradients.
        regularization: What draws the weights to be equal, :math:`\rho`, not negative, in units of the squared
            gradients.

    Returns:
        A `Weighting`: ``init(num_losses)``, and ``update(products, state) -> (weights, state)`` with the products
        ``(K, K)`` of the first batch's gradients with the second's, which need not be symmetric: as in the example, or
        `gram` of one batch where the bias does no harm. The state has ``weights``.

    Raises:
        TypeError: If an option is no number; and in ``update`` if ``products`` is no real floating-point array.
        ValueError: If ``learning_rate`` is not positive or ``regularization`` negative; and in ``update`` if
            ``products`` is not square, or of other than as many losses as in ``init``.

    Cost:
        About ``7 K^2`` operations; the products cost the gradients of both batches.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def losses(w, x):
        ...     return w @ x.mean(0), (w**2).sum() * x.mean()
        >>> w, first, second = jnp.array([1.0, 2.0]), jnp.ones((3, 2)), 2 * jnp.ones((3, 2))
        >>> one, other = (jaxgrad.multi_loss.gradients(losses, w, x) for x in (first, second))
        >>> weighting = jaxgrad.multi_loss.modo(learning_rate=0.01)
        >>> weights, state = weighting.update(one @ other.T, weighting.init(2))
        >>> [round(weight, 2) for weight in weights.tolist()]
        [0.59, 0.41]

    References:
        Chen, Fernando, Ying and Chen (2024), Three-way trade-off in multi-objective learning: optimization,
        generalization and conflict-avoidance, JMLR 25, equation 2.9 and algorithm 1.
    """
    for name, value, check in (
        ("learning_rate", learning_rate, _check.positive),
        ("regularization", regularization, _check.non_negative),
    ):
        _check.number(value, name)
        check(value, name)

    def init(num_losses: int) -> ModoState:
        return ModoState(start(num_losses, 1.0) / num_losses)

    def update(products: ArrayLike, state: ModoState) -> tuple[Array, ModoState]:
        _check.state(state, ModoState, "init(num_losses)")
        matrix, weights = of_two_batches(products, state.weights), state.weights
        rate, pull = (jnp.asarray(one, matrix.dtype) for one in (learning_rate, regularization))
        after = project(weights - rate * (matrix @ weights + pull * weights))
        return or_nan(matrix, after, products), unless_sick(matrix, ModoState(after), state)

    return Weighting(init, update)
