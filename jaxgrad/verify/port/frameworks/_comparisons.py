"""Programs that compare numbers which rounding may tell apart, and those that can ask the same otherwise.

A maximum's gradient asks of each operand whether it is the maximum. Where XLA computes the operand once for either
side of that question, and rounds it differently, no operand is, and the gradient is lost. ``x == max(x, y)`` says what
``x >= y`` says, for NaN too, and the latter asks no number whether it is itself.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxgrad import _jaxpr

__all__ = ["compares", "without_ties"]

COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
EXACT = ("broadcast_in_dim", "convert_element_type", "reshape", "squeeze", "iota")
"""Primitives that round nothing, so that a number which is written in a program is still that number behind them."""
ORDER = {"max": lax.ge, "min": lax.le}
"""What an operand is to the others where the maximum or the minimum is that operand."""


def compares(program: Any) -> bool:
    """Say whether a program compares two floating-point numbers, neither of which is written in it.

    A number that is compared with itself is asked whether it is NaN, which rounding does not change.
    """
    # a softmax takes the derivative of a maximum that it then leaves alone
    live, _ = _jaxpr.needed(program, [True] * len(program.outvars))
    return _compares(live)


def _compares(body: Any) -> bool:
    """Look through a jaxpr and the functions that it holds."""
    written = set(body.constvars)
    for eqn in body.eqns:
        computed = [v for v in eqn.invars if not isinstance(v, _jaxpr.Literal) and v not in written]
        if not computed and eqn.primitive.name in EXACT:
            written.update(eqn.outvars)
        elif eqn.primitive.name in COMPARISONS:
            two = len(computed) == 2 and computed[0] is not computed[1]
            if two and jnp.issubdtype(computed[0].aval.dtype, jnp.floating):
                return True
        elif any(map(_compares, _jaxpr.functions(eqn))):
            return True
    return False


class Number(NamedTuple):
    """A value, and of what it is the maximum or minimum."""

    value: Any
    order: Callable[[Any, Any], Any] | None = None
    operands: tuple[Any, ...] = ()


def without_ties(program: _jaxpr.ClosedJaxpr) -> Callable[..., list[Any]]:
    """Return a function of the leaves that computes what a program does, and asks no operand of a maximum for a tie."""

    def evaluate(*leaves: Any) -> list[Any]:
        found = _jaxpr.evaluate(program.jaxpr, program.consts, list(map(Number, leaves)), _operate, Number)
        return [number.value for number in found]

    return evaluate


def _operate(eqn: Any, given: list[Number]) -> list[Number]:
    """Evaluate one equation."""
    inner = _jaxpr.call(eqn)
    if inner is not None:
        return _jaxpr.evaluate(inner.jaxpr, inner.consts, given, _operate, Number)
    values = tuple(number.value for number in given)
    if eqn.primitive.name == "eq":
        for one, whole in (given, reversed(given)):
            rest = [x for x in whole.operands if x is not one.value]
            if whole.order is not None and len(rest) == 1:
                return [Number(whole.order(one.value, rest[0]))]
    order = ORDER.get(eqn.primitive.name)
    return [Number(result, order, values if order else ()) for result in _jaxpr.bind(eqn, *values)]
