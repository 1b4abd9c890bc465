"""Rules of calls and control flow: the same interpreter on the functions inside."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _jaxpr
from jaxgrad._jaxpr import is_inexact
from jaxgrad._sharding import vary, varying
from jaxgrad.nth._engine._interpret import evaluate
from jaxgrad.nth._engine._registry import Mode, rule
from jaxgrad.nth._engine._series import Series, constant, instantiate, is_constant

__all__: list[str] = []


def pack(values: Sequence[Series], moving: Sequence[bool]) -> list[Any]:
    """Flatten series for a function of arrays: all coefficients of a moving one, the value of another."""
    return [
        c for series, move in zip(values, moving, strict=True) for c in (instantiate(series) if move else series[:1])
    ]


def unpack(arrays: Sequence[Any], moving: Sequence[bool], order: int) -> list[Series]:
    """Undo `pack`."""
    source = iter(arrays)
    return [tuple(next(source) for _ in range(order + 1)) if move else constant(next(source), order) for move in moving]


def reached(jaxpr: Any, moving: Sequence[bool]) -> list[bool]:
    """Say which results may move, given which operands do: what depends on one and is no integer."""
    return _jaxpr.reached(jaxpr, moving, is_inexact)


@rule(*_jaxpr.CALLS, sums=True)
def call(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Inline the function, less the results that nobody reads."""
    body = _jaxpr.call(eqn)
    assert body is not None, "the rule is entered for calls alone"
    read = [not isinstance(var, _jaxpr.DropVar) for var in eqn.outvars]
    wanted = [var for var, keep in zip(body.jaxpr.outvars, read, strict=True) if keep]
    results = iter(evaluate(_jaxpr.restricted(body.jaxpr, wanted), body.consts, operands, mode))
    return [next(results) if keep else constant(None, mode.order) for keep in read]


@rule(_jaxpr.CHECKPOINT, sums=True)
def rematerialise(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Keep the checkpoint, around the series."""
    whole = _jaxpr.checkpoint(eqn)
    assert whole is not None, "the rule is entered for checkpoints alone"
    body, moving = whole.body, [not is_constant(series) for series in operands]
    results = reached(body.jaxpr, moving)

    def inside(*arrays: Any) -> list[Any]:
        return pack(evaluate(body.jaxpr, body.consts, unpack(arrays, moving, mode.order), mode), results)

    kept = jax.checkpoint(inside, prevent_cse=whole.prevent_cse, policy=whole.policy)
    return unpack(kept(*pack(operands, moving)), results, mode.order)


@rule("cond", sums=True)
def cond(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Take the branch that the value takes."""
    index, *others = operands
    moving = [not is_constant(series) for series in others]
    branches = _jaxpr.branches(eqn)
    assert branches is not None, "the rule is entered for conditionals alone"
    results = [any(column) for column in zip(*[reached(b.jaxpr, moving) for b in branches], strict=True)]

    def on_series(branch: _jaxpr.ClosedJaxpr) -> Any:
        return lambda *arrays: pack(
            evaluate(branch.jaxpr, branch.consts, unpack(arrays, moving, mode.order), mode), results
        )

    # JAX maps a conditional over a varying index by casting its operands, and not what its branches do to them
    arrays = pack(others, moving)
    arrays = vary(arrays, varying([index[0], *arrays]))
    flat = lax.switch(index[0], [on_series(branch) for branch in branches], *arrays)
    return unpack(flat, results, mode.order)


@rule("scan", sums=True)
def scan(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Scan with series for carry, inputs and outputs."""
    loop, order = _jaxpr.as_scan(eqn), mode.order
    assert loop is not None, "the rule is entered for scans alone"
    body, first, second = loop.body, loop.consts, loop.consts + loop.carries
    moving = [not is_constant(series) for series in operands]
    consts, xs = moving[:first], moving[second:]
    carry, ys = _jaxpr.settled(body.jaxpr, consts, moving[first:second], xs, is_inexact)

    def step(state: list[Any], inputs: list[Any]) -> tuple[list[Any], list[Any]]:
        series = operands[:first] + unpack(state, carry, order) + unpack(inputs, xs, order)
        results = evaluate(body.jaxpr, body.consts, series, mode)
        return pack(results[: len(carry)], carry), pack(results[len(carry) :], ys)

    state, outputs = lax.scan(
        step,
        pack(operands[first:second], carry),
        pack(operands[second:], xs),
        length=loop.length,
        reverse=loop.reverse,
        unroll=loop.unroll,
    )
    return unpack(state, carry, order) + unpack(outputs, ys, order)


@rule("while", sums=True)
def while_loop(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Go round as often as the values do."""
    loop, order = _jaxpr.as_while(eqn), mode.order
    assert loop is not None, "the rule is entered for while loops alone"
    first, second, body = loop.test_consts, loop.test_consts + loop.body_consts, loop.body
    moving = [not is_constant(series) for series in operands]
    carry, _ = _jaxpr.settled(body.jaxpr, moving[first:second], moving[second:], [], is_inexact)

    def test(state: Sequence[Any]) -> Any:
        values = [constant(series[0], order) for series in operands[:first] + unpack(state, carry, order)]
        return evaluate(loop.test.jaxpr, loop.test.consts, values, mode)[0][0]

    def step(state: Sequence[Any]) -> Sequence[Any]:
        series = operands[first:second] + unpack(state, carry, order)
        following = pack(evaluate(body.jaxpr, body.consts, series, mode), carry)
        # a vmapped test has an answer for each loop: those that are done stay as they are
        return [_among(test(state), a, b) for a, b in zip(following, state, strict=True)] if answers else following

    answers, start = loop.test.out_avals[0].shape, pack(operands[second:], carry)
    return unpack(
        lax.while_loop(lambda state: jnp.any(test(state)) if answers else test(state), step, start), carry, order
    )


def _among(going: Any, following: Any, state: Any) -> Any:
    """Choose by a mask over the first axes."""
    return jnp.where(going.reshape(going.shape + (1,) * (following.ndim - going.ndim)), following, state)
