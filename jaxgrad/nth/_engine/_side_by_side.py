"""Several directions side by side: the value, a slope along each, and sums of second derivatives along pairs of them.

A series here is the value, the slopes ``u_1 ... u_d`` and a second derivative for each sum that is asked for, none of
them divided by a factorial. Nothing is mapped: every coefficient is an array of the value's shape, so that a layer is
as many products as it has coefficients, and each is as fast as the value's own. Mapped over directions, the same
Laplacian takes twice the time on a CPU to differentiate.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from jaxgrad._jaxpr import bind, is_inexact
from jaxgrad.nth._engine._registry import Mode, Rule
from jaxgrad.nth._engine._series import Series, add, constant, is_constant, scale, times
from jaxgrad.nth._engine._two_directions import along, curvature

__all__ = ["Pairs", "side_by_side"]

Pairs = tuple[tuple[int, int], ...]
"""Which second derivatives one sum adds up, each by the numbers of its two directions."""

BILINEAR = {"conv_general_dilated", "dot_general", "mul"}


def side_by_side(directions: int, sums: tuple[Pairs, ...]) -> Mode:
    """Return the mode of series of a value, slopes along so many directions, and these sums of second derivatives."""
    # there is one direction, unmapped, as far as the other rules can see: it says that the top of a series is a sum
    return Mode(directions + len(sums), direction=0, summed=functools.partial(_follow, directions, sums))


def _follow(
    directions: int, sums: tuple[Pairs, ...], rule: Rule, eqn: Any, operands: list[Series], mode: Mode
) -> Sequence[Series]:
    r"""Evaluate an equation that is not linear.

    .. math:: \sum_{(i,j)} \partial_i \partial_j y =
        J(x) \sum_{(i,j)} \partial_i \partial_j x + \sum_{(i,j)} H(x)[\partial_i x, \partial_j x]
    """
    if rule.pointwise:
        return _pointwise(directions, sums, rule, eqn, operands[0])
    if eqn.primitive.name in BILINEAR:
        return [_product(directions, sums, eqn, *operands)]
    values = bind(eqn, *[u[0] for u in operands])
    rows = [along(eqn, operands, k, len(values)) for k in range(1, mode.order + 1)]
    for number, pairs in enumerate(sums, directions):
        for i, j in pairs:
            _, bent = curvature(eqn, [(u[0], u[1 + i], u[1 + j], None) for u in operands], len(values))
            rows[number] = [add(*terms) for terms in zip(rows[number], bent, strict=True)]
    return [
        (value, *row) if is_inexact(var) else constant(value, mode.order)
        for var, value, row in zip(eqn.outvars, values, zip(*rows, strict=True), strict=True)
    ]


def _pointwise(directions: int, sums: tuple[Pairs, ...], rule: Rule, eqn: Any, u: Series) -> list[Series]:
    """Evaluate functions of one number by their own two derivatives, which do not depend on the directions."""
    slopes, seconds = u[1 : 1 + directions], u[1 + directions :]
    squares = [add(*[times(slopes[i], slopes[j]) for i, j in pairs]) for pairs in sums]
    return [
        (
            value,
            *[times(first, slope) for slope in slopes],
            *[add(times(first, a), times(scale(2, half), b)) for a, b in zip(seconds, squares, strict=True)],
        )
        for value, first, half in rule.apply(eqn, [(u[0], jnp.ones_like(u[0]), None)], Mode(2))
    ]


def _product(directions: int, sums: tuple[Pairs, ...], eqn: Any, u: Series, w: Series) -> Series:
    """Multiply: each coefficient with the other's value, and the slopes of both where both move."""

    def term(a: Any, b: Any) -> Any:
        return None if a is None or b is None else bind(eqn, a, b)[0]

    moved = [add(term(a, w[0]), term(u[0], b)) for a, b in zip(u[1:], w[1:], strict=True)]
    if not is_constant(u) and not is_constant(w):
        for number, pairs in enumerate(sums, directions):
            crossed = [t for i, j in pairs for t in (term(u[1 + i], w[1 + j]), term(u[1 + j], w[1 + i]))]
            moved[number] = add(moved[number], *crossed)
    return (term(u[0], w[0]), *moved)
