"""Second derivatives along two directions each, summed over pairs of directions.

A series here is four coefficients: the value, the slopes along the first and the second direction of a pair, and the
sum over all pairs of the derivative along both. So a matrix's entry is never the difference of two squares.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from jaxgrad.nth._engine._interpret import (
    bind,
    is_inexact,
    jvp_of,
    sum_over_directions,
    taylor,
    velocity_of,
)
from jaxgrad.nth._engine._registry import Mode, Rule
from jaxgrad.nth._engine._series import Series, add, constant, scale, times

__all__ = ["along", "curvature", "pairs"]


def pairs(rule: Rule, eqn: Any, operands: list[Series], mode: Mode) -> Sequence[Series]:
    r"""Evaluate an equation on the four coefficients.

    .. math:: \sum_i \partial_s \partial_t y^{(i)} =
        J(x) \sum_i \partial_s \partial_t x^{(i)} + \sum_i H(x)[\partial_s x^{(i)}, \partial_t x^{(i)}]
    """
    if rule.pointwise:
        return _pointwise(rule, eqn, operands[0], mode)
    values = bind(eqn, *[u[0] for u in operands])
    second, both = [along(eqn, operands, k, len(values)) for k in (2, 3)]
    first, curved = curvature(eqn, operands, len(values))
    tops = [add(sum_over_directions(bent, mode), moved) for bent, moved in zip(curved, both, strict=True)]
    results = zip(values, first, second, tops, strict=True)
    return [
        series if is_inexact(var) else constant(series[0], mode.order)
        for var, series in zip(eqn.outvars, results, strict=True)
    ]


def _pointwise(rule: Rule, eqn: Any, u: Series, mode: Mode) -> list[Series]:
    """Evaluate functions of one number by their own two derivatives, which do not depend on the directions."""
    product = sum_over_directions(times(u[1], u[2]), mode)
    return [
        (value, times(slope, u[1]), times(slope, u[2]), add(times(slope, u[3]), times(scale(2, half), product)))
        for value, slope, half in rule.apply(eqn, [(u[0], jnp.ones_like(u[0]), None)], Mode(2))
    ]


def along(eqn: Any, operands: list[Series], k: int, count: int) -> list[Any]:
    """Return the velocities of the results where the operands move with their coefficients ``k``."""
    moving = {i: u[k] for i, u in enumerate(operands) if u[k] is not None}
    return jvp_of(eqn, operands, list(moving))(*moving.values()) if moving else [None] * count


def curvature(eqn: Any, operands: list[Series], count: int) -> tuple[list[Any], list[Any]]:
    """Return the slopes along the first direction, and their own slopes along the second."""
    active = [i for i, u in enumerate(operands) if u[1] is not None or u[2] is not None]
    if not active:
        return [None] * count, [None] * count
    velocity, floating = velocity_of(eqn, operands, active), [is_inexact(var) for var in eqn.outvars]

    def slope(*arrays: Any) -> list[Any]:
        return [y for y in velocity(arrays[: len(active)], arrays[len(active) :]) if y is not None]

    points = [(operands[i][0], operands[i][2]) for i in active]
    velocities = [(jnp.zeros_like(operands[i][0]) if operands[i][1] is None else operands[i][1], None) for i in active]
    rows = iter(taylor(slope, points + velocities, Mode(1))[0])
    found = [next(rows) if keep else (None, None) for keep in floating]
    return [first for first, _ in found], [curved for _, curved in found]
