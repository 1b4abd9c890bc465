"""What the inner steps of every task tell of themselves, beside the gradient that goes through them."""

from typing import Generic, NamedTuple

from jaxgrad._types import Array, Params, T
from jaxgrad.meta._engine._descent import Descent, first_failure

__all__ = ["MetaGradient", "told"]


class MetaGradient(NamedTuple, Generic[T]):
    """What the gradients over tasks return with ``full_output=True``; what is of a task has a leading axis of them."""

    gradient: T
    """What is returned without it: the gradient, or for `meta_sgd_gradient` the pair of both."""
    value: Array | None
    """The meta-loss: the mean over tasks of the query loss at the adapted parameters; ``None`` from `reptile_gradient`,
    which has no query."""
    losses: Array
    """Of shape ``(tasks, num_steps)``: the support loss at the parameters from which each step starts."""
    diverged_at: Array
    """Of every task, the first step that starts from a loss which is infinite or NaN, an integer; ``num_steps`` where
    only the parameters after the last step are; -1 where nothing is."""


def told(after: Descent, start: Params) -> tuple[Array, Array]:
    """Return the last two fields of a `MetaGradient`, of one task."""
    return after.losses, first_failure(after, start)
