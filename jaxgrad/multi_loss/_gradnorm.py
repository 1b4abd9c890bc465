"""Several losses weighed so that their gradients have lengths that fit their rates."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check
from jaxgrad._types import Array, Tree
from jaxgrad.multi_loss._stateful import Scalarizer, given, learned, makes, start, unless_sick
from jaxgrad.multi_loss._vector import coefficients

__all__ = ["gradnorm"]


class GradNormState(NamedTuple):
    """The state of `gradnorm`."""

    weights: Array
    """Of shape ``(K,)``, of sum K, ones at first."""
    optimizer: Any
    """The state of their optimizer."""
    first: Array
    """The losses of the first step."""
    step: Array
    """How many steps there were."""


@makes(Scalarizer)
def gradnorm(*, optimizer: Any, alpha: ArrayLike = 1.5) -> Scalarizer:
    r"""Build a scalarizer that learns weights under which gradients have lengths that fit their rates (GradNorm).

    .. math:: \sum_{k=1}^K w_k L_k, \qquad
              \min_w \sum_k \Big| w_k n_k - \bar n\, r_k^\alpha \Big|, \qquad
              \bar n = \frac1K \sum_j w_j n_j, \qquad
              r_k = \frac{L_k / L_k(0)}{\frac1K \sum_j L_j / L_j(0)}

    :math:`n_k = \|\nabla L_k\|` is the norm of the plain gradient by the weights that the losses share, in practice
    their last layer. The target :math:`\bar n r_k^\alpha` is a constant: :math:`w_k` has the slope :math:`\pm n_k`.
    After each step of the optimizer the weights are scaled to the sum K.

    Args:
        optimizer: An optax transformation that moves the weights, such as ``optax.adam(0.025)``. The slope has the size
            of the gradients; Adam does not see it.
        alpha: How strongly what is slow is pulled along, :math:`\alpha`, not negative. 0 gives all gradients one
            length.

    Returns:
        A `Scalarizer`: ``init(num_losses)``, and ``update(losses, state, *, norms) -> (value, state)``. ``norms`` are
        the norms of the plain gradients, of shape ``(K,)`` or a tree like the losses:
        ``jax.vmap(optax.tree.norm)(rows)`` of the rows of `gradients`, with ``wrt`` the shared layer. The state has
        ``weights``, ``optimizer``, ``first`` and ``step``. A loss that was 0 at the first step counts as all left.

    Raises:
        TypeError: If ``optimizer`` is no optax transformation or ``alpha`` no number; and in ``update`` if a loss is no
            real floating-point number, or a norm no real number.
        ValueError: If ``alpha`` is negative; and in ``update`` if there are not as many losses, or norms, as in
            ``init``, or a loss is no scalar.

    Cost:
        ``K`` operations beside the losses, and one backward for all of them; and that of the norms, ``K`` backwards to
        the layer that is shared.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import jaxgrad
        >>> scalarizer = jaxgrad.multi_loss.gradnorm(optimizer=optax.adam(0.025))
        >>> state = scalarizer.init(2)
        >>> for _ in range(200):
        ...     value, state = scalarizer.update(jnp.array([1.0, 1.0]), state, norms=jnp.array([4.0, 1.0]))
        >>> (state.weights * jnp.array([4.0, 1.0])).round().tolist(), round(state.weights.sum().item(), 4)
        ([2.0, 2.0], 2.0)

    References:
        Chen et al. (2018), GradNorm: gradient normalization for adaptive loss balancing in deep multitask networks,
        ICML, equations 1 and 2 and algorithm 1.
    """
    _check.optimizer(optimizer)
    _check.number(alpha, "alpha")
    _check.non_negative(alpha, "alpha")

    def init(num_losses: int) -> GradNormState:
        ones = start(num_losses, 1.0)
        return GradNormState(ones, optimizer.init(ones), ones, jnp.zeros((), jnp.int32))

    def update(losses: Tree, state: GradNormState, *, norms: Tree) -> tuple[Array, GradNormState]:
        _check.state(state, GradNormState, "init(num_losses)")
        values, weights = given(losses, state.weights), state.weights
        now, lengths = values.astype(weights.dtype), coefficients(norms, "norms", weights, 1.0, losses)
        first = jnp.where(state.step == 0, now, state.first)
        scaled = weights * lengths
        target = jnp.mean(scaled) * _rates(now, first) ** jnp.asarray(alpha, weights.dtype)
        moved, after = learned(optimizer, lengths * jnp.sign(scaled - target), state.optimizer, weights)
        moved = moved * (moved.size / jnp.sum(moved))
        state_after = GradNormState(moved, after, first, state.step + 1)
        seen = jnp.concatenate([now, lengths])
        return jnp.sum(weights.astype(values.dtype) * values), unless_sick(seen, state_after, state)

    return Scalarizer(init, update)


def _rates(now: Array, first: Array) -> Array:
    """Return what is left of each loss, in units of the mean; 1 where nothing can be said."""
    left = jnp.where(first == 0, jnp.ones_like(now), now / jnp.where(first == 0, jnp.ones_like(first), first))
    mean = jnp.mean(left)
    return jnp.where(mean == 0, jnp.ones_like(left), left / jnp.where(mean == 0, jnp.ones_like(mean), mean))
