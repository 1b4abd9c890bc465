"""Several losses weighed by how far each is above the least that it can be."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxgrad import _check, _tree
from jaxgrad._types import Array, Params, Tree
from jaxgrad.multi_loss._stateful import Weighting, WeightingOfRows, makes, or_nan, start, unless_sick

__all__ = ["excess_mtl"]


class ExcessState(NamedTuple):
    """The state of `excess_mtl`."""

    logits: Array
    """Logarithms of the weights, of shape ``(K,)``, zeros at first."""
    lengths: Tree
    """Roots of the sums of the squared gradients so far: like the rows, ``K`` numbers for each of ``params``."""
    first: Array
    """The excess risks that those of later steps are compared with."""
    step: Array
    """How many steps there were."""


@makes(WeightingOfRows)
def excess_mtl(*, learning_rate: ArrayLike = 1.0, num_warmup_steps: int = 0) -> Weighting:
    r"""Learn weights by the excess risks of the losses, how far each is above its least (ExcessMTL).

    .. math:: \lambda_k \propto \lambda_k \exp(\eta\, e_k / e_k^0), \qquad
              e_k = \sum_i \frac{g_{k i}^2}{h_{k i}}, \qquad h_{k i}^2 = \sum_{s \le t} g_{k i}(s)^2

    :math:`e_k` is the estimate of the excess risk by Taylor expansion, with Adagrad's diagonal :math:`h` in the place
    of the Hessian: a loss that cannot get smaller, because its labels are noise, has a small one and is not pursued.
    What it is in units of, :math:`e_k^0`, is the mean over the first steps, in which the weights are equal.

    Args:
        learning_rate: The step of the weights' logarithms, :math:`\eta`, positive.
        num_warmup_steps: How many steps have equal weights and make up the unit of the excess risks; three epochs in
            the paper. 0: the first step alone makes it up.

    Returns:
        A `Weighting` of the rows: ``init(num_losses, params)``, and ``update(rows, state) -> (weights, state)`` with
        the tree of `gradients`; the weights sum to 1 and are for `weighted_gradient`. The state has ``logits``,
        ``lengths``, ``first`` and ``step``. A loss whose gradient has been zero so far has the excess risk 0.

    Raises:
        TypeError: If ``learning_rate`` is no number, ``num_warmup_steps`` no Python integer; and in ``update`` if a row
            is no real floating-point array.
        ValueError: If ``learning_rate`` is not positive or ``num_warmup_steps`` negative; and in ``update`` if the rows
            do not have the structure and shapes that the state was started for.

    Cost:
        The gradients of all losses, and ``K`` numbers of memory for each of ``params`` in the state.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> weighting = jaxgrad.multi_loss.excess_mtl()
        >>> state = weighting.init(2, jnp.zeros(3))
        >>> for share in (1.0, 0.1):  # the gradient of the second loss has become small
        ...     weights, state = weighting.update(jnp.array([[1.0, 2.0, 0.0], [0.0, share, share]]), state)
        >>> [round(weight, 2) for weight in weights.tolist()]
        [0.67, 0.33]

    References:
        He et al. (2024), Robust multi-task learning with excess risks, ICML, equations 6, 7 and 9 and section 3.2.
        Their code takes the first excess risk as it is, not in units of itself, and adds 1e-7; here neither is done.
    """
    _check.number(learning_rate, "learning_rate")
    _check.positive(learning_rate, "learning_rate")
    warmup = _check.count(num_warmup_steps, "num_warmup_steps")

    def init(num_losses: int, params: Params) -> ExcessState:
        zeros = start(num_losses)

        def like(leaf: ArrayLike) -> Array:
            return jnp.zeros((zeros.size, *jnp.shape(leaf)), _tree.accumulator(jnp.result_type(leaf)))

        return ExcessState(zeros, jax.tree.map(like, params), zeros, jnp.zeros((), jnp.int32))

    def update(rows: Tree, state: ExcessState) -> tuple[Array, ExcessState]:
        _check.state(state, ExcessState, "init(num_losses, params)")
        _check.floating(rows=rows)
        wide = jax.tree.map(lambda leaf: lax.stop_gradient(jnp.asarray(leaf)), _tree.widened(rows))
        _check.mirrors(**{"the params of init, with an axis of losses": state.lengths, "rows": wide})
        # by hypotenuses: squares of small or large entries leave the range of their dtype
        lengths = jax.tree.map(jnp.hypot, state.lengths, wide)
        excess = _excess(wide, lengths).astype(state.logits.dtype)
        after = _weighed(state, excess, warmup, learning_rate)._replace(lengths=lengths, step=state.step + 1)
        kept = unless_sick(excess, after, state)
        return or_nan(excess, jax.nn.softmax(kept.logits), jax.tree.leaves(wide)[0]), kept

    return WeightingOfRows(init, update)


def _excess(rows: Tree, lengths: Tree) -> Array:
    """Return the estimate of the excess risk of each loss."""

    def of_leaf(row: Array, length: Array) -> Array:
        share = row / jnp.where(length == 0, jnp.ones_like(length), length)
        return jnp.sum((row * share).reshape(len(row), -1), axis=1)

    parts = [of_leaf(*pair) for pair in zip(jax.tree.leaves(rows), jax.tree.leaves(lengths), strict=True)]
    widest = _tree.accumulator(*(part.dtype for part in parts))
    return jnp.sum(jnp.stack([part.astype(widest) for part in parts]), axis=0)


def _weighed(state: ExcessState, excess: Array, warmup: int, learning_rate: ArrayLike) -> ExcessState:
    """Return the logits after a step, and the unit of the excess risks."""
    warm = state.step < warmup
    mean = state.first + excess / max(warmup, 1)
    # a loss without a gradient so far takes the first that there is for its unit
    first = jnp.where(warm, mean, jnp.where(state.first == 0, excess, state.first))
    ratio = jnp.where(first == 0, jnp.zeros_like(first), excess / jnp.where(first == 0, jnp.ones_like(first), first))
    moved = jax.nn.log_softmax(state.logits + jnp.asarray(learning_rate, ratio.dtype) * ratio)
    return state._replace(logits=jnp.where(warm, state.logits, moved), first=first)
