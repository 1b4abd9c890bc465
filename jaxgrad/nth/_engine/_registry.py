"""The table of rules, one a primitive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jax.extend.core import Primitive

from jaxgrad import _jaxpr
from jaxgrad.nth._engine._series import Series

__all__ = ["Mode", "Rule", "find", "register_rule", "rule"]


@dataclass(frozen=True)
class Mode:
    """What a series holds at its top."""

    order: int
    """The highest coefficient."""
    direction: Any = None
    """The number of a mapped direction, over which the highest coefficient alone is summed; ``None``: no sum."""
    weight: Any = None
    """The weight of a direction in that sum; ``None`` for one."""
    summed: Callable[..., Sequence[Series]] | None = None
    """What evaluates an equation whose rule is not right on sums, given ``(rule, eqn, operands, mode)``."""


@dataclass(frozen=True)
class Rule:
    """How a primitive acts on series."""

    apply: Callable[[Any, list[Series], Mode], Sequence[Series]]
    """Takes the equation, the series of its operands (one at least moves) and the mode."""
    sums: bool
    """Whether the rule is right on summed coefficients: it acts on each coefficient by itself, or hands the mode on."""
    pointwise: bool = False
    """Whether the primitive is a function of one number, applied to every entry of one operand."""


_rules: dict[str, Rule] = {}
_registered: dict[Primitive, Rule] = {}


def rule(*names: str, sums: bool = False, pointwise: bool = False) -> Callable[[Any], Any]:
    """Enter a rule for primitives by name."""

    def enter(apply: Any) -> Any:
        for name in names:
            _rules[name] = Rule(apply, sums, pointwise)
        return apply

    return enter


def find(eqn: _jaxpr.JaxprEqn) -> Rule | None:
    """Return the rule of an equation's primitive; a registered one goes first."""
    name = _jaxpr.CHECKPOINT if _jaxpr.checkpoint(eqn) else eqn.primitive.name
    return _registered.get(eqn.primitive) or _rules.get(name)


def register_rule(primitive: Primitive, rule: Callable[..., Sequence[Any]]) -> None:
    r"""Give a primitive of your own a rule for Taylor series.

    Without a rule a primitive is differentiated through its own jvp, :math:`y'(t) = J(x(t))\, x'(t)`, which is
    right for every primitive that `jax.jvp` takes. A rule is worth writing where a recurrence is shorter.

    Args:
        primitive: The primitive, a ``jax.extend.core.Primitive``.
        rule: ``rule(*operands, **params)``. An operand is a tuple of the normalised coefficients
            :math:`x^{(k)} / k!` for k = 0 to n; ``None`` stands for zero, and the value is never ``None``. It
            returns such a tuple, or a list of them where the primitive has several results.

    Returns:
        Nothing. The rule holds for programs that are traced from now on.

    Raises:
        TypeError: If ``primitive`` is no primitive.

    Cost:
        One entry in a table; nothing is traced.

    Example:
        >>> import jax.numpy as jnp
        >>> from jax.extend.core.primitives import neg_p
        >>> import jaxgrad
        >>> jaxgrad.nth.register_rule(neg_p, lambda x: tuple(None if c is None else -c for c in x))
        >>> jaxgrad.nth.derivative(lambda x: -x**2, jnp.array(3.0), 1).item()
        -6.0

    References:
        Griewank and Walther (2008), Evaluating Derivatives, 2nd ed., section 13.2: the usual recurrences.
    """
    if not isinstance(primitive, Primitive):
        message = f"primitive must be a jax.extend.core.Primitive; got {primitive!r}"
        raise TypeError(message)

    def apply(eqn: Any, operands: list[Series], mode: Mode) -> Sequence[Series]:
        del mode
        results: Any = rule(*operands, **eqn.params)
        return results if eqn.primitive.multiple_results else [results]

    _registered[primitive] = Rule(apply, sums=False)
