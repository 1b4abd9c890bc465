"""Derivatives of optimizer steps that stay finite where a slope inside of the step does not.

Adam's ``m / (sqrt(v) + eps)`` is differentiable at ``m = v = 0``, but the chain rule passes through the infinite slope
of the square root there and gives NaN. One weight whose gradient is exactly zero, behind a dead ReLU for instance, is
enough. RAdam's first steps take the root of a negative number in a branch that is not taken, and the cotangent 0 that
comes from there meets NaN. Here a step is traced once and evaluated again with the slopes that are not finite left out.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax

from jaxgrad import _jaxpr
from jaxgrad.meta._engine._singular import is_guarded, with_finite_slopes

__all__ = ["guarded"]


def guarded(fun: Callable[..., Any], *args: Any) -> Any:
    r"""Return ``fun(*args)``, with every slope inside that is infinite or NaN left out of its derivative.

    Values are those of ``fun``, and so is every derivative that the chain rule gives without an infinite factor.
    Beyond that the derivative is exact where such a slope belongs to a branch that is not taken, or only meets factors
    that vanish with its operand: with
    :math:`v = \sum_t c_t g_t^2` all zero, :math:`m` is zero too, and Adam's true derivative is :math:`dm / \epsilon`.

    Loops are entered; functions with rules of their own, and under `jax.checkpoint`, are evaluated as they stand.

    Args:
        fun: A step of an optimizer. Traced under JAX's standard promotion, for which optax is written.
        *args: Pytrees of arrays.

    Returns:
        The result of ``fun``.
    """
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        program, shapes = jax.make_jaxpr(fun, return_shape=True)(*args)
    _jaxpr.refuse_refs(program.jaxpr, "the optimizer")
    leaves = jax.tree.leaves(args)
    results = _jaxpr.evaluate(program.jaxpr, program.consts, leaves, _operate)
    return jax.tree.unflatten(jax.tree.structure(shapes), results)


def _operate(eqn: _jaxpr.JaxprEqn, inputs: list[Any]) -> Sequence[Any]:
    """Evaluate one operation: guarded, entered where it is a function call or a choice, or as it stands."""
    if is_guarded(eqn):
        return [with_finite_slopes(eqn, inputs, guarded)]
    body, choices = _jaxpr.call(eqn), _jaxpr.branches(eqn)
    if body is not None:
        return _inside(body)(*inputs)
    if choices is not None:
        return lax.switch(inputs[0], [_inside(choice) for choice in choices], *inputs[1:])
    if (scan := _jaxpr.as_scan(eqn)) is not None:
        return _scan(scan, inputs)
    if (loop := _jaxpr.as_while(eqn)) is not None:
        return _while(loop, inputs)
    return _jaxpr.bind(eqn, *inputs)


def _scan(scan: _jaxpr.Scan, inputs: list[Any]) -> list[Any]:
    """Evaluate a scan with the operations of its body guarded."""
    first, last = scan.consts, scan.consts + scan.carries
    fixed, start, slices = inputs[:first], inputs[first:last], inputs[last:]
    body = _inside(scan.body)

    def step(carry: list[Any], row: list[Any]) -> tuple[list[Any], list[Any]]:
        results = body(*fixed, *carry, *row)
        return results[: scan.carries], results[scan.carries :]

    carry, rows = lax.scan(step, start, slices, length=scan.length, reverse=scan.reverse, unroll=scan.unroll)
    return [*carry, *rows]


def _while(loop: _jaxpr.While, inputs: list[Any]) -> list[Any]:
    """Evaluate a while loop with the operations of its body guarded."""
    first, last = loop.test_consts, loop.test_consts + loop.body_consts
    test, body = _inside(loop.test), _inside(loop.body)
    return lax.while_loop(
        lambda carry: test(*inputs[:first], *carry)[0], lambda carry: body(*inputs[first:last], *carry), inputs[last:]
    )


def _inside(body: _jaxpr.ClosedJaxpr) -> Callable[..., list[Any]]:
    """Return a traced function with its operations guarded."""
    return lambda *operands: _jaxpr.evaluate(body.jaxpr, body.consts, operands, _operate)
