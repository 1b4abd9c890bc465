"""Rules of the family in the place of another kind, or not called yet: what is right in their place."""

import inspect
from typing import Any, NoReturn

from jaxgrad import _check
from jaxgrad.multi_loss._cosmos import cosmos
from jaxgrad.multi_loss._geometric_mean import geometric_mean
from jaxgrad.multi_loss._pbi import pbi
from jaxgrad.multi_loss._stateful import FACTORIES, Scalarizer, Weighting, WeightingOfRows
from jaxgrad.multi_loss._stch import stch
from jaxgrad.multi_loss._units import GIVEN_A_UNIT, IN_ANY_UNIT, OF_ROWS, function_of, is_one_of

__all__ = ["refuse_no_aggregator", "refuse_no_weighting"]

OF_LOSSES = (cosmos, geometric_mean, pbi, stch)
"""Functions of the losses themselves."""


def refuse_no_weighting(given: Any) -> None:
    """Refuse what is no rule of the Gram matrix: of two losses with two weights the shapes would be right.

    Raises:
        ValueError: If it is a rule of the rows.
        TypeError: If it makes a rule and has not been called, joins losses and not gradients, or is no function.
    """
    _refuse_of_no_gram("weighting", given)
    if is_one_of(given, OF_ROWS):
        message = (
            "weighting is a rule of the rows themselves, not of their Gram matrix: give it as aggregator=, or call it"
            " on the rows"
        )
        raise ValueError(message)
    if (kind := _made_by(given)) is not None:
        _refuse_uncalled("weighting", given, kind)
    if not (callable(given) or callable(getattr(given, "update", None))):
        message = f"weighting must be a function, or a pair (init, update); got {_check.describe(given)}"
        raise TypeError(message)


def refuse_no_aggregator(given: Any) -> None:
    """Refuse what is no rule of the rows.

    Raises:
        ValueError: If it is a rule of the Gram matrix, or one of the rows that returns weights.
        TypeError: If it makes a rule and has not been called, joins losses and not gradients, or is no function.
    """
    _refuse_of_no_gram("aggregator", given)
    has_state = isinstance(given, Weighting)
    if has_state or is_one_of(given, (*IN_ANY_UNIT, *GIVEN_A_UNIT)):
        message = (
            f"aggregator is a rule of the Gram matrix{' with a state' * has_state}, not of the rows themselves: give it"
            f" as weighting={', with state= and full_output=True' * has_state}"
        )
        raise ValueError(message)
    if (kind := _made_by(given)) is not None:
        _refuse_uncalled("aggregator", given, kind)
    if not callable(given):
        message = f"aggregator must be a function; got {_check.describe(given)}"
        raise TypeError(message)


def _refuse_of_no_gram(place: str, given: Any) -> None:
    """Refuse what belongs in neither place, whether it has been called or not.

    Raises:
        ValueError: If it weighs rows.
        TypeError: If it joins losses.
    """
    kind = _made_by(given)
    name = "" if kind is None else f"{function_of(given).__name__}, which makes "
    if kind is WeightingOfRows or isinstance(given, WeightingOfRows):
        message = (
            f"{place} is {name}a Weighting that takes the rows and returns weights, as excess_mtl does: call its"
            " update(rows, state) on what gradients returns, and give the weights to weighted_gradient"
        )
        raise ValueError(message)
    if kind is Scalarizer or isinstance(given, Scalarizer):
        message = (
            f"{place} is {name}a Scalarizer, which joins the losses and not their gradients: call its update(losses,"
            " state) inside of a loss, and differentiate that by gradient.parameter_gradient"
        )
        raise TypeError(message)
    if is_one_of(given, OF_LOSSES):
        message = (
            f"{place} is {function_of(given).__name__}, which joins the losses and not their gradients: call it"
            " inside of a loss, and differentiate that by gradient.parameter_gradient"
        )
        raise TypeError(message)


def _refuse_uncalled(place: str, given: Any, kind: type) -> NoReturn:
    """Refuse a function that makes a rule of the Gram matrix, with the call that makes it.

    Raises:
        TypeError: Always.
    """
    name = function_of(given).__name__
    needed = [p.name for p in inspect.signature(given).parameters.values() if p.default is p.empty]
    message = (
        f"{place} is {name}, which makes a rule, a {kind.__name__}, and is none itself: call it,"
        f" rule = {name}({', '.join(needed)}), and give weighting=rule with state= from rule.init(num_losses)"
    )
    raise TypeError(message)


def _made_by(given: Any) -> type | None:
    """Return what a function of the family makes that has not been called; ``None`` for anything else."""
    return next((kind for factory, kind in FACTORIES if function_of(given) is factory), None)
