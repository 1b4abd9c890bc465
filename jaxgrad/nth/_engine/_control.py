"""Rules of calls and control flow: the same interpreter on the functions inside."""

from collections.abc import Sequence
from typing import Any

import jax
from jax import lax
from jax.extend import core

from jaxgrad.nth._engine._interpret import evaluate, is_inexact
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


def reached(jaxpr: core.Jaxpr, moving: Sequence[bool]) -> list[bool]:
    """Say which results may move, given which operands do: what depends on one and is no integer."""
    touched = {var for var, move in zip(jaxpr.invars, moving, strict=True) if move}
    for eqn in jaxpr.eqns:
        if any(isinstance(atom, core.Var) and atom in touched for atom in eqn.invars):
            touched.update(var for var in eqn.outvars if is_inexact(var))
    return [isinstance(atom, core.Var) and atom in touched for atom in jaxpr.outvars]


def settle(body: core.Jaxpr, consts: list[bool], carry: list[bool], xs: list[bool]) -> tuple[list[bool], list[bool]]:
    """Return which carries move once the loop has gone round often enough, and which further results do."""
    while True:
        results = reached(body, consts + carry + xs)
        grown = [a or b for a, b in zip(carry, results, strict=False)]
        if grown == carry:
            return carry, results[len(carry) :]
        carry = grown


@rule("jit", "pjit", "closed_call", "core_call", sums=True)
def call(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Inline the function, less the results that nobody reads."""
    closed = eqn.params["jaxpr"] if "jaxpr" in eqn.params else eqn.params["call_jaxpr"]
    read = [not isinstance(var, core.DropVar) for var in eqn.outvars]
    wanted = [var for var, keep in zip(closed.jaxpr.outvars, read, strict=True) if keep]
    results = iter(evaluate(closed.jaxpr.replace(outvars=wanted), closed.consts, operands, mode))
    return [next(results) if keep else constant(None, mode.order) for keep in read]


@rule("checkpoint", "remat", "remat2", sums=True)
def rematerialise(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Keep the checkpoint, around the series."""
    body, moving = eqn.params["jaxpr"], [not is_constant(series) for series in operands]
    results = reached(body, moving)

    def inside(*arrays: Any) -> list[Any]:
        return pack(evaluate(body, (), unpack(arrays, moving, mode.order), mode), results)

    kept = jax.checkpoint(inside, prevent_cse=eqn.params["prevent_cse"], policy=eqn.params["policy"])
    return unpack(kept(*pack(operands, moving)), results, mode.order)


@rule("cond", sums=True)
def cond(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Take the branch that the value takes."""
    index, *others = operands
    moving = [not is_constant(series) for series in others]
    branches = eqn.params["branches"]
    results = [any(column) for column in zip(*[reached(b.jaxpr, moving) for b in branches], strict=True)]

    def on_series(branch: core.ClosedJaxpr) -> Any:
        return lambda *arrays: pack(
            evaluate(branch.jaxpr, branch.consts, unpack(arrays, moving, mode.order), mode), results
        )

    flat = lax.switch(index[0], [on_series(branch) for branch in branches], *pack(others, moving))
    return unpack(flat, results, mode.order)


@rule("scan", sums=True)
def scan(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Scan with series for carry, inputs and outputs."""
    p, order = eqn.params, mode.order
    body, first, second = p["jaxpr"], p["num_consts"], p["num_consts"] + p["num_carry"]
    moving = [not is_constant(series) for series in operands]
    consts, xs = moving[:first], moving[second:]
    carry, ys = settle(body.jaxpr, consts, moving[first:second], xs)

    def step(state: list[Any], inputs: list[Any]) -> tuple[list[Any], list[Any]]:
        series = operands[:first] + unpack(state, carry, order) + unpack(inputs, xs, order)
        results = evaluate(body.jaxpr, body.consts, series, mode)
        return pack(results[: len(carry)], carry), pack(results[len(carry) :], ys)

    state, outputs = lax.scan(
        step,
        pack(operands[first:second], carry),
        pack(operands[second:], xs),
        length=p["length"],
        reverse=p["reverse"],
        unroll=p["unroll"],
    )
    return unpack(state, carry, order) + unpack(outputs, ys, order)


@rule("while", sums=True)
def while_loop(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Go round as often as the values do."""
    p, order = eqn.params, mode.order
    first, second = p["cond_nconsts"], p["cond_nconsts"] + p["body_nconsts"]
    moving = [not is_constant(series) for series in operands]
    test, body = p["cond_jaxpr"], p["body_jaxpr"]
    carry, _ = settle(body.jaxpr, moving[first:second], moving[second:], [])

    def goes_on(state: Sequence[Any]) -> Any:
        values = [series[0] for series in operands[:first] + unpack(state, carry, order)]
        return core.jaxpr_as_fun(test)(*values)[0]

    def step(state: Sequence[Any]) -> Sequence[Any]:
        series = operands[first:second] + unpack(state, carry, order)
        return pack(evaluate(body.jaxpr, body.consts, series, mode), carry)

    return unpack(lax.while_loop(goes_on, step, pack(operands[second:], carry)), carry, order)
