"""Derivatives of optimizer steps that stay finite where the step divides by, or takes the root of, an exact zero.

Adam's ``m / (sqrt(v) + eps)`` is differentiable at ``m = v = 0``, but the chain rule passes through the infinite slope
of the square root there and gives NaN. One weight whose gradient is exactly zero, behind a dead ReLU for instance, is
enough. Here a step is traced once and evaluated again with its roots and quotients guarded.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.extend.core as jex
from jax import lax

from jaxgrad.meta._engine._singular import is_guarded, with_finite_slopes

__all__ = ["guarded"]

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
    return jax.tree.unflatten(jax.tree.structure(shapes), _evaluate(program, *jax.tree.leaves(args)))


def _evaluate(program: jex.ClosedJaxpr, *args: Any) -> list[Any]:
    """Evaluate a traced program, one operation at a time."""
    jaxpr = program.jaxpr
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*program.consts, *args], strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, jex.Literal) else values[atom]

    for equation in jaxpr.eqns:
        outputs = _operate(jaxpr, equation, [read(atom) for atom in equation.invars])
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _operate(jaxpr: jex.Jaxpr, equation: jex.JaxprEqn, inputs: list[Any]) -> Sequence[Any]:
    """Evaluate one operation: guarded, entered where it is a function call or a choice, or as it stands."""
    name, params = equation.primitive.name, equation.params
    if is_guarded(equation):
        return [with_finite_slopes(equation, inputs, guarded)]
    if name in ("jit", "pjit"):
        return _evaluate(params["jaxpr"], *inputs)
    if name == "cond":
        branches = [lambda *operands, branch=branch: _evaluate(branch, *operands) for branch in params["branches"]]
        return lax.switch(inputs[0], branches, *inputs[1:])
    given = {v: x for v, x in zip(equation.invars, inputs, strict=True) if not isinstance(v, jex.Literal)}
    alone = jaxpr.replace(
        constvars=[], invars=list(given), outvars=equation.outvars, eqns=[equation], effects=equation.effects
    )
    return jex.jaxpr_as_fun(jex.ClosedJaxpr(alone, ()))(*given.values())

