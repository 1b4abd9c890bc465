"""The state of a model beside its parameters, such as the running statistics of BatchNorm, in an inner loop."""

from collections.abc import Callable
from typing import Any, Literal

from jaxgrad import _check
from jaxgrad._types import Params, Tree

__all__ = ["MODES", "Statistics", "check_statistics", "of_state"]

Statistics = Literal["frozen", "transductive", "carried"]
"""What becomes of the model's state.

``frozen``: every pass is in evaluation mode, with the state as it is given. ``transductive``: every pass is in training
mode and normalises by its own batch, the query's too, so that a query example depends on the others; the new state is
dropped. ``carried``: the steps are in training mode and hand the state on, from the given one; the query is in
evaluation mode, with the state after the last step. No state ever goes from one task to another.
"""

MODES = ("frozen", "transductive", "carried")


def check_statistics(statistics: Any, state: Tree) -> None:
    """Refuse another mode, and one that changes a state where there is none.

    Raises:
        ValueError: With the modes, or with what is missing.
    """
    _check.choice(statistics, "statistics", MODES)
    if state is None and statistics != "frozen":
        message = f"statistics={statistics!r} says what becomes of the model's state: give that as state="
        raise ValueError(message)


def of_state(loss_fn: Callable[..., Any], has_state: bool, train: bool, has_aux: bool) -> Callable[..., Any]:
    """Return ``called(params, state, *data) -> (value, (aux, state))`` of a loss, with or without a state.

    With one, the loss is ``loss_fn(params, state, *data, train=train) -> (value, state)``, or with ``has_aux``
    ``(value, (state, aux))``.
    """

    def called(params: Params, state: Tree, *data: Any) -> Any:
        if not has_state:
            out = loss_fn(params, *data)
            value, aux = _check.pair(out) if has_aux else (out, None)
            return _check.real_scalar(value), (aux, None)
        value, beside = _check.pair(
            loss_fn(params, state, *data, train=train), expected="the pair (loss, state), since state is given"
        )
        later, aux = (
            _check.pair(beside, expected="(loss, (state, aux)), since state is given and has_aux=True")
            if has_aux
            else (beside, None)
        )
        _check.mirrors(state=state, **{"the state that loss_fn returns": later})
        return _check.real_scalar(value), (aux, later)

    return called
