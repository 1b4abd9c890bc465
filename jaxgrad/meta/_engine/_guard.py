"""Derivatives of optimizer steps that stay finite where the step divides by, or takes the root of, an exact zero.

Adam's ``m / (sqrt(v) + eps)`` is differentiable at ``m = v = 0``, but the chain rule passes through the infinite slope
of the square root there and gives NaN. One weight whose gradient is exactly zero, behind a dead ReLU for instance, is
enough. Here a step is traced once and evaluated again with its roots and quotients guarded.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _jaxpr
from jaxgrad._types import Array

__all__ = ["guarded"]

SINGULAR_AT_ZERO = ("sqrt", "rsqrt", "div")
"""Operations whose partial derivatives are infinite where their last operand is zero."""


def guarded(fun: Callable[..., Any], *args: Any) -> Any:
    r"""Return ``fun(*args)``, with the derivative of a root or quotient taken as 0 where its last operand is 0.

    Values are those of ``fun``, and so is every derivative that the chain rule gives without an infinite factor.
    Beyond that the derivative is exact wherever the singular operand only meets factors that vanish with it: with
    :math:`v = \sum_t c_t g_t^2` all zero, :math:`m` is zero too, and Adam's true derivative is :math:`dm / \epsilon`.

    ``while`` and ``scan`` loops and functions with rules of their own are evaluated as they stand.

    Args:
        fun: A step of an optimizer. Traced under JAX's standard promotion, for which optax is written.
        *args: Pytrees of arrays.

    Returns:
        The result of ``fun``.
    """
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        program, shapes = jax.make_jaxpr(fun, return_shape=True)(*args)
    leaves = jax.tree.leaves(args)
    results = _jaxpr.evaluate(program.jaxpr, program.consts, leaves, _operate)
    return jax.tree.unflatten(jax.tree.structure(shapes), results)


def _operate(eqn: _jaxpr.JaxprEqn, inputs: list[Any]) -> Sequence[Any]:
    """Evaluate one operation: guarded, entered where it is a function call or a choice, or as it stands."""
    if eqn.primitive.name in SINGULAR_AT_ZERO and jnp.issubdtype(jnp.result_type(inputs[-1]), jnp.floating):
        return [_guard_last_operand(lambda *operands: _jaxpr.bind(eqn, *operands)[0], *inputs)]
    body, choices = _jaxpr.call(eqn), _jaxpr.branches(eqn)
    if body is not None:
        return _inside(body)(*inputs)
    if choices is not None:
        return lax.switch(inputs[0], [_inside(choice) for choice in choices], *inputs[1:])
    return _jaxpr.bind(eqn, *inputs)


def _inside(body: _jaxpr.ClosedJaxpr) -> Callable[..., list[Any]]:
    """Return a traced function with its operations guarded."""
    return lambda *operands: _jaxpr.evaluate(body.jaxpr, body.consts, operands, _operate)


def _guard_last_operand(operation: Callable[..., Array], *operands: Array) -> Array:
    """Apply an operation that is singular where its last operand is zero; differentiate it elsewhere only."""
    *others, last = operands
    zero = last == 0
    regular = operation(*others, jnp.where(zero, jnp.ones_like(last), last))
    return jnp.where(zero, lax.stop_gradient(operation(*operands)), regular)
