"""A rule of several degrees on summed coefficients, by the rule itself."""

from collections.abc import Callable, Sequence
from typing import Any

from jaxgrad.nth._engine._interpret import apply, sum_over_directions
from jaxgrad.nth._engine._registry import Mode, Rule
from jaxgrad.nth._engine._series import Series, add

__all__ = ["collapsed"]

Apply = Callable[[Any, list[Series], Mode], Sequence[Series]]


def collapsed(rule: Apply) -> Apply:
    """Make a rule right on highest coefficients that are sums over directions.

    The highest coefficient enters linearly, so its sum may go through the rule's own first degree. The jvp of the
    primitive would do too, but where that is wrong at an edge, or refuses, the rule is right.
    """

    def on_sums(eqn: Any, operands: list[Series], mode: Mode) -> Sequence[Series]:
        if mode.direction is None:
            return rule(eqn, operands, mode)
        if mode.summed is not None:
            return mode.summed(Rule(rule, sums=False), eqn, operands, mode)
        below = apply(eqn, [(*series[:-1], None) for series in operands], Mode(mode.order))
        moved = apply(eqn, [(series[0], series[-1]) for series in operands], Mode(1))
        return [
            (*series[:-1], add(sum_over_directions(series[-1], mode), linear[1]))
            for series, linear in zip(below, moved, strict=True)
        ]

    return on_sums
