"""The weights of another rule, smoothed over the steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check
from jaxgrad._types import Array
from jaxgrad.multi_loss._places import refuse_no_weighting
from jaxgrad.multi_loss._stateful import Weighting, makes, start, unless_sick

__all__ = ["cr_mogm"]


class CrMogmState(NamedTuple):
    """The state of `cr_mogm`."""

    weights: Array
    """The smoothed weights."""
    step: Array
    """How many steps there were."""
    rule: Any
    """The state of the rule within, where it has one."""


@makes(Weighting)
def cr_mogm(weighting: Any, *, decay: ArrayLike | Callable[[Array], ArrayLike] = 0.9) -> Weighting:
    r"""Smooth the weights of another rule over the steps (CR-MOGM), which lessens what a batch says by chance.

    .. math:: \lambda_t = \alpha_t \lambda_{t-1} + (1 - \alpha_t)\, \hat\lambda_t, \qquad
              \lambda_0 = \hat\lambda_0, \qquad \hat\lambda_t = \text{weighting}(G_t)

    Weights of one step that come from batches before it do not lean to the losses that the batch happens to favour.

    Args:
        weighting: ``weighting(gram, **options) -> (K,)``, a rule of this family or your own; or one with a state, a
            `Weighting`.
        decay: The share of the weights before, :math:`\alpha`, from 0 to 1, or a schedule, a function of the step. The
            paper's grows towards 1 as the learning rate falls: ``lambda step: 1 - rate(step) / rate(0)``.

    Returns:
        A `Weighting`: ``init(num_losses)``, and ``update(gram, state, **options) -> (weights, state)``, which hands the
        options on to the rule. The state has ``weights``, ``step`` and ``rule``.

    Raises:
        TypeError: If ``weighting`` is no function, or one that makes a rule and has not been called, or ``decay``
            neither a number nor a function.
        ValueError: If ``weighting`` is a rule of the rows, or ``decay`` a number of Python that is not from 0 to 1;
            from ``update``, if the rule returns other than one weight for each loss.

    Cost:
        That of the rule.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def to_unit_norms(gram):
        ...     return 1 / jnp.sqrt(jnp.diagonal(gram))
        >>> smoothed = jaxgrad.multi_loss.cr_mogm(to_unit_norms, decay=0.5)
        >>> state = smoothed.init(2)
        >>> for scale in (1.0, 4.0):
        ...     weights, state = smoothed.update(scale * jnp.eye(2), state)
        >>> weights.tolist()
        [0.75, 0.75]

    References:
        Zhou et al. (2022), On the convergence of stochastic multi-objective gradient manipulation and beyond, NeurIPS,
        algorithm 1 and corollary 1.
    """
    has_state = callable(getattr(weighting, "update", None))
    refuse_no_weighting(weighting)
    if not callable(decay):
        _check.number(decay, "decay")
        _check.share(decay, "decay")

    def init(num_losses: int) -> CrMogmState:
        inner = weighting.init(num_losses) if has_state else None
        return CrMogmState(start(num_losses), jnp.zeros((), jnp.int32), inner)

    def update(gram: Array, state: CrMogmState, **options: Any) -> tuple[Array, CrMogmState]:
        _check.state(state, CrMogmState, "init(num_losses)")
        if has_state:
            found, inner = weighting.update(gram, state.rule, **options)
        else:
            found, inner = weighting(gram, **options), None
        count = state.weights.size
        if jnp.shape(found) != (count,):
            message = (
                f"weighting must return one weight for each of the {count} losses that the state was started for, by"
                f" init({count}); got {_check.describe(found)}"
            )
            raise ValueError(message)
        new = found.astype(state.weights.dtype)
        share = jnp.asarray(decay(state.step) if callable(decay) else decay).astype(new.dtype)
        smooth = jnp.where(state.step == 0, new, share * state.weights + (1 - share) * new)
        return smooth.astype(found.dtype), unless_sick(new, CrMogmState(smooth, state.step + 1, inner), state)

    return Weighting(init, update)
