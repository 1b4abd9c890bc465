"""The interpreter: evaluates a jaxpr on series, and the way out for a primitive without a rule."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxgrad import _jaxpr
from jaxgrad._jaxpr import bind, is_inexact
from jaxgrad._sharding import vary, varying
from jaxgrad._types import Tree
from jaxgrad.nth._engine._registry import Mode, Rule, find
from jaxgrad.nth._engine._series import Series, add, constant, is_constant, scale, times

__all__ = ["BY_JVP", "apply", "differentiate", "evaluate", "follow", "taylor"]


PACKAGE = str(Path(__file__).parents[2])
"""Where this package is: a function that is one operation is called by us."""


def taylor(fun: Callable[..., Tree], operands: Sequence[Series], mode: Mode) -> tuple[list[Series], Any]:
    """Evaluate a function of arrays on series; return those of the leaves of its output, and the output's structure.

    Inside of `shard_map` whatever moves has to vary over the same axes as its value.
    """
    operands = vary(list(operands), varying(operands))
    closed, shapes = jax.make_jaxpr(fun, return_shape=True)(*[series[0] for series in operands])
    return evaluate(closed.jaxpr, closed.consts, operands, mode), jax.tree.structure(shapes)


def evaluate(jaxpr: _jaxpr.Jaxpr, consts: Sequence[Any], operands: Sequence[Series], mode: Mode) -> list[Series]:
    """Evaluate a jaxpr on series."""
    return _jaxpr.evaluate(
        jaxpr,
        consts,
        operands,
        lambda eqn, series: apply(eqn, series, mode),
        lambda value: constant(value, mode.order),
        _jaxpr.live_equations(jaxpr),
    )


def apply(eqn: _jaxpr.JaxprEqn, operands: list[Series], mode: Mode) -> Sequence[Series]:
    """Evaluate one equation on series."""
    if (axes := _jaxpr.cast_to(eqn)) is not None:
        # a loop or a conditional may have cast its operands already, which JAX would not do twice
        return [vary(operands[0], axes)]
    moves = any(not is_constant(series) for series in operands)
    if moves and _jaxpr.has_refs(eqn):
        message = (
            "fun writes what depends on its argument to a mutable array (jax.new_ref), and Taylor mode carries no"
            f" series in those{_used_at(eqn)}: write array.at[index].set(value), or carry the array through the loop"
        )
        raise NotImplementedError(message)
    if not moves or not any(is_inexact(var) for var in eqn.outvars):
        return [constant(value, mode.order) for value in bind(eqn, *[series[0] for series in operands])]
    return follow(find(eqn) or BY_JVP, eqn, operands, mode)


def follow(rule: Rule, eqn: _jaxpr.JaxprEqn, operands: list[Series], mode: Mode) -> Sequence[Series]:
    """Evaluate one equation by a rule, on coefficients of the mode's kind."""
    if mode.direction is None or rule.sums:
        return rule.apply(eqn, operands, mode)
    if mode.summed is not None:
        return mode.summed(rule, eqn, operands, mode)
    if rule.pointwise and mode.order == 2:
        return summed_pointwise(rule, eqn, operands[0], mode)
    return summed(eqn, operands, mode)


def summed(eqn: _jaxpr.JaxprEqn, operands: list[Series], mode: Mode) -> list[Series]:
    r"""Evaluate an equation whose highest coefficient is summed over directions.

    .. math:: \sum_i y_n^{(i)} = J(x_0) \sum_i x_n^{(i)} + \sum_i r(x_0, \dots, x_{n-1}^{(i)})

    The highest coefficient of an operand enters linearly, so its sum is enough; the rest ``r`` is what the rule
    gives when that coefficient is zero.

    References:
        Dangel et al. (2025), Collapsing Taylor mode automatic differentiation, equation 6.
    """
    tops = {i: series[-1] for i, series in enumerate(operands) if series[-1] is not None}
    below = [(*series[:-1], None) for series in operands]
    results = [list(series) for series in apply(eqn, below, Mode(mode.order))]
    linear = jvp_of(eqn, operands, list(tops))(*tops.values()) if tops else [None] * len(results)
    for series, moved in zip(results, linear, strict=True):
        series[-1] = add(sum_over_directions(series[-1], mode), moved)
    return [tuple(series) for series in results]


def summed_pointwise(rule: Rule, eqn: _jaxpr.JaxprEqn, u: Series, mode: Mode) -> list[Series]:
    r"""Evaluate functions of one number to second order: their own two derivatives do not depend on the direction.

    .. math:: \sum_i y_2^{(i)} = f'(u_0) \sum_i u_2^{(i)} + \tfrac{1}{2} f''(u_0) \sum_i \left(u_1^{(i)}\right)^2
    """
    squares = sum_over_directions(times(u[1], u[1]), mode)
    return [
        (value, times(first, u[1]), add(times(first, u[2]), times(second, squares)))
        for value, first, second in rule.apply(eqn, [(u[0], jnp.ones_like(u[0]), None)], Mode(2))
    ]


def sum_over_directions(part: Any, mode: Mode) -> Any:
    """Sum over the mapped directions."""
    if part is None:
        return None
    return _total(part if mode.weight is None else part * mode.weight.astype(part.dtype), mode.direction)


@jax.custom_batching.custom_vmap
def _total(part: Any, direction: Any) -> Any:
    """Sum over the axis along which ``direction`` is mapped; `shard_map` takes no sum over a named axis of `vmap`."""
    del direction
    return part


@_total.def_vmap
def _sum_of_mapped(count: int, mapped: list[bool], part: Any, direction: Any) -> tuple[Any, bool]:
    """Sum; what does not depend on the direction is the same for each."""
    del direction
    return (jnp.sum(part, axis=0) if mapped[0] else part * count), False


def jvp_of(eqn: _jaxpr.JaxprEqn, operands: list[Series], active: list[int]) -> Callable[..., list[Any]]:
    """Return the map from velocities of some operands to velocities of the results; ``None`` for integer ones."""
    pushforward = velocity_of(eqn, operands, active)
    return lambda *velocities: pushforward([operands[i][0] for i in active], velocities)


def velocity_of(eqn: _jaxpr.JaxprEqn, operands: list[Series], active: list[int]) -> Callable[..., list[Any]]:
    """Return the jvp of an equation in its active operands; an error names the line that has none."""
    floating = [is_inexact(var) for var in eqn.outvars]

    def fun(*moving: Any) -> list[Any]:
        values = [series[0] for series in operands]
        for i, value in zip(active, moving, strict=True):
            values[i] = value
        return [y for y, keep in zip(bind(eqn, *values), floating, strict=True) if keep]

    def velocity(points: Sequence[Any], velocities: Sequence[Any]) -> list[Any]:
        try:
            slopes = iter(pushforward(eqn, fun, tuple(points), tuple(velocities)))
        except (NotImplementedError, TypeError, ValueError, AssertionError) as error:
            raise TypeError(_without_derivative(eqn, error)) from error
        return [next(slopes) if keep else None for keep in floating]

    return velocity


def pushforward(eqn: _jaxpr.JaxprEqn, fun: Callable[..., Any], points: tuple[Any, ...], velocities: Any) -> list[Any]:
    """Return ``J v``: the jvp, or where only a backward rule is given the transpose of that."""
    if not _jaxpr.has_backward_rule(eqn):
        return jax.jvp(fun, points, velocities)[1]
    values, pullback = jax.vjp(fun, *points)
    try:
        return jax.linear_transpose(pullback, values)(velocities)[0]
    except (NotImplementedError, AssertionError) as error:
        message = f"jax.custom_vjp has no forward rule, and its backward rule is not linear: {_first_line(error)}"
        raise NotImplementedError(message) from error


def _without_derivative(eqn: _jaxpr.JaxprEqn, error: Exception) -> str:
    """Say which primitive could not be differentiated, where it is used, and what to write instead."""
    name, said = eqn.primitive.name, _first_line(error)
    if _jaxpr.has_backward_rule(eqn):
        advice = (
            "Where a backward rule is all there is, it must be linear in the cotangent and made of operations that JAX"
            " transposes. Write the function without jax.custom_vjp (a diffrax solve: adjoint=diffrax.DirectAdjoint()"
            " or ForwardMode(); jax.experimental.ode.odeint: a jax.lax.scan of your own steps), or give it a forward"
            " rule by jax.custom_jvp"
        )
    else:
        advice = "Wrap it in jax.custom_jvp, or give it a series with nth.register_rule"
    return f"the primitive {name} has no forward derivative ({said}){_used_at(eqn)}. {advice}"


def _used_at(eqn: _jaxpr.JaxprEqn) -> str:
    """Return the user's line that wrote an equation, as the end of a clause; nothing where nobody knows."""
    line = _jaxpr.line_of(eqn)
    return f"; used at {line}" if line and not line.startswith(PACKAGE) else ""


def _first_line(error: Exception) -> str:
    """Return the first line of an error's message; its name where it says nothing."""
    return str(error).strip().split("\n")[0] or f"{type(error).__name__} in its rule"


def differentiate(eqn: _jaxpr.JaxprEqn, operands: list[Series], mode: Mode) -> list[Series]:
    r"""Evaluate an equation without a rule, through its own jvp.

    .. math:: y'(t) = J(x(t))\, x'(t), \qquad y_k = \frac{1}{k} \left( J(x(t))\, x'(t) \right)_{k-1}

    The right-hand side is a series of one order less, so this comes to an end. Rules of ``jax.custom_jvp`` are
    honoured, and ties are broken as JAX does.
    """
    active = [i for i, series in enumerate(operands) if not is_constant(series)]
    points = [operands[i][:-1] for i in active]
    velocities = [_velocity(operands[i]) for i in active]
    velocity = velocity_of(eqn, operands, active)

    def slope(*arrays: Any) -> list[Any]:
        return [y for y in velocity(arrays[: len(active)], arrays[len(active) :]) if y is not None]

    rows = iter(taylor(slope, points + velocities, Mode(mode.order - 1))[0])
    values = bind(eqn, *[series[0] for series in operands])
    return [
        (value, *[scale(1 / k, c) for k, c in enumerate(next(rows), 1)])
        if is_inexact(var)
        else constant(value, mode.order)
        for var, value in zip(eqn.outvars, values, strict=True)
    ]


def _velocity(series: Series) -> Series:
    """Return the series of ``x'(t)``; its value is stored even where it is a known zero."""
    first, *others = [scale(k, c) for k, c in enumerate(series[1:], 1)]
    return (jnp.zeros_like(series[0]) if first is None else first, *others)


BY_JVP = Rule(differentiate, sums=False)
"""What serves a primitive that has no rule."""
