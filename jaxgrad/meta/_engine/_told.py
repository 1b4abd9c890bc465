"""What the inner steps of every task tell of themselves, beside the gradient that goes through them."""

from typing import Any, Generic, NamedTuple

from jaxgrad._types import Array, Params, T, Tree
from jaxgrad.meta._engine._descent import Descent, first_failure

__all__ = ["MetaGradient", "reported", "told"]


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


def reported(gradient: Tree, value: Array | None, aux: Tree, told: Any, *, has_aux: bool) -> Any:
    """Return what a gradient over tasks returns: a `MetaGradient` where the steps told of themselves, and the aux."""
    result = gradient if told is None else MetaGradient(gradient, value, *told)
    return (result, aux) if has_aux else result
