"""Several losses joined so that all fall at one rate."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxgrad import _check
from jaxgrad._types import Array, Tree
from jaxgrad.multi_loss._stateful import Scalarizer, given, learned, makes, start, unless_sick
from jaxgrad.multi_loss._vector import coefficients

__all__ = ["famo"]


class FamoState(NamedTuple):
    """The state of `famo`."""

    logits: Array
    """Of the weights, of shape ``(K,)``, zeros at first."""
    optimizer: Any
    """The state of their optimizer."""
    logarithms: Array
    """Those of the losses of the last step, above their bounds."""
    is_known: Array
    """Whether there are any: not before the first step, nor after one whose losses were not finite."""


@makes(Scalarizer)
def famo(*, optimizer: Any = None, lower_bounds: Tree | None = None) -> Scalarizer:
    r"""Build a scalarizer under which all losses fall at one rate: fast adaptive multitask optimization (FAMO).

    .. math:: c \sum_{k=1}^K z_k \log(L_k - b_k), \qquad z = \operatorname{softmax}(\xi), \qquad
              c = \Big( \sum_k \frac{z_k}{L_k - b_k} \Big)^{-1}

    :math:`c` is a constant of differentiation, so that the gradient is a weighted mean of those of the losses. After a
    step that took the losses from :math:`L` to :math:`L'` the logits :math:`\xi` descend along
    :math:`\partial z / \partial \xi` times :math:`\log(L - b) - \log(L' - b)`: what fell less than the others gets a
    larger weight. It needs no gradient of a single loss.

    Args:
        optimizer: An optax transformation that moves the logits; ``None`` for the paper's: a decay of 1e-3 and Adam
            with the rate 0.025.
        lower_bounds: What the losses stay above, :math:`b`: one number for each, of shape ``(K,)`` or a tree like the
            losses; ``None``: zeros.

    Returns:
        A `Scalarizer`: ``init(num_losses)``, and ``update(losses, state, *, after=None) -> (value, state)``. ``after``
        are the losses of the LAST step's batch at the parameters that it led to, one more forward; ``None`` takes
        ``losses`` for them, which is exact where every step sees all data. At the first step they are not read. The
        state has ``logits``, ``optimizer``, ``logarithms`` and ``is_known``. The value may be negative; it is infinite
        or NaN where a loss is not above its bound.

    Raises:
        TypeError: If ``optimizer`` is no optax transformation; and in ``update`` if a loss is no real floating-point
            number, or a bound no real number.
        ValueError: In ``update`` if there are not as many losses, or bounds, as in ``init``, or a loss is no scalar.

    Cost:
        ``K`` operations beside the losses, and one backward for all of them; a forward for ``after``.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> scalarizer = jaxgrad.multi_loss.famo()
        >>> state = scalarizer.init(2)
        >>> for losses in ([1.0, 1.0], [0.5, 1.0], [0.2, 0.9]):  # the second loss stands still
        ...     value, state = scalarizer.update(jnp.array(losses), state)
        >>> (state.logits[1] > state.logits[0]).item(), value.item() < 0
        (True, True)

    References:
        Liu et al. (2023), FAMO: fast adaptive multitask optimization, NeurIPS, algorithm 1 and equation 13. Their code
        adds 1e-8 to the losses; here nothing is added.
    """
    rule = optax.chain(optax.add_decayed_weights(1e-3), optax.adam(0.025)) if optimizer is None else optimizer
    _check.optimizer(rule)

    def init(num_losses: int) -> FamoState:
        zeros = start(num_losses)
        return FamoState(zeros, rule.init(zeros), zeros, jnp.zeros((), bool))

    def logarithms(losses: Tree, state: FamoState, name: str) -> Array:
        values = given(losses, state.logits, name)
        return jnp.log(values - coefficients(lower_bounds, "lower_bounds", values, 0.0, losses))

    def update(losses: Tree, state: FamoState, *, after: Tree | None = None) -> tuple[Array, FamoState]:
        _check.state(state, FamoState, "init(num_losses)")
        now = logarithms(losses, state, "losses")
        reached = lax.stop_gradient(now if after is None else logarithms(after, state, "after"))
        moved = _moved(rule, state, reached.astype(state.logits.dtype))
        shares = jax.nn.log_softmax(moved.logits).astype(now.dtype)
        # the constant through logarithms: reciprocals of small losses would overflow
        scale = jnp.exp(-jax.nn.logsumexp(shares - lax.stop_gradient(now)))
        value = scale * jnp.sum(jnp.exp(shares) * now)
        last = lax.stop_gradient(now).astype(state.logits.dtype)
        known = moved._replace(logarithms=last, is_known=jnp.ones((), bool))
        return value, unless_sick(last, known, moved._replace(is_known=jnp.zeros((), bool)))

    return Scalarizer(init, update)


def _moved(rule: Any, state: FamoState, reached: Array) -> FamoState:
    """Let the logits step by how much each loss fell; they stay where it is not known, or a loss is sick."""
    fall = state.logarithms - reached
    _, pullback = jax.vjp(jax.nn.softmax, state.logits)
    logits, after = learned(rule, pullback(fall)[0], state.optimizer, state.logits)
    # what is not known counts as sick
    seen = jnp.where(state.is_known, fall, jnp.full_like(fall, jnp.nan))
    return unless_sick(seen, state._replace(logits=logits, optimizer=after), state)
