"""Operations whose slopes are infinite or undefined at some points, with those slopes taken as 0 there.

The chain rule multiplies a cotangent by a slope. A cotangent of 0 must stay 0, whatever the slope: it arrives from the
branch of a select that was not taken, where optimizers put the root of a negative number or a division by zero, or it
is to be multiplied by 0 later on, as at a gradient of 0. Only the slopes are known where a cotangent is multiplied
when derivatives are to be linear, so it is the infinite and undefined slopes that are replaced.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from jaxgrad import _jaxpr, _tree
from jaxgrad._types import Array

__all__ = ["is_guarded", "undefined_where", "undefined_where_not_finite", "with_finite_slopes"]

BILINEAR = ("mul", "dot_general")
"""Operations whose slope by one operand is the other: undefined where that is infinite or NaN."""

ELEMENTWISE = frozenset(
    {"abs", "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cos", "cosh", "digamma", "div", "erf"}
    | {"erf_inv", "erfc", "exp", "exp2", "expm1", "integer_pow", "lgamma", "log", "log1p", "logistic", "pow", "rsqrt"}
    | {"sin", "sinh", "sqrt", "square", "tan", "tanh"}
)
"""Operations whose slopes depend on the operands, entry by entry."""


def is_guarded(equation: _jaxpr.JaxprEqn) -> bool:
    """Say whether an operation may have a slope that is infinite or undefined, in real floating-point numbers."""
    if equation.primitive.name not in {*BILINEAR, *ELEMENTWISE}:
        return False
    varying = [atom for atom in equation.invars if not isinstance(atom, _jaxpr.Literal)]
    # a number times an array has that number as its slope
    if not varying or (equation.primitive.name in BILINEAR and len(varying) < 2):
        return False
    result: Any = equation.outvars[0].aval
    return jnp.issubdtype(result.dtype, jnp.floating)


def with_finite_slopes(equation: _jaxpr.JaxprEqn, operands: Sequence[Array], guard: Callable[..., Any]) -> Array:
    r"""Apply an operation whose derivative leaves out the slopes that are not finite.

    .. math:: \dot y = \sum_i \text{finite}(\partial f / \partial x_i) \, \dot x_i

    This holds in both modes, and for derivatives of any order where ``guard`` evaluates a function, here a slope,
    by operations of this kind.
    """
    bilinear = equation.primitive.name in BILINEAR

    def operation(*operands: Array) -> Array:
        return _jaxpr.bind(equation, *operands)[0]

    @jax.custom_jvp
    def apply(*operands: Array) -> Array:
        return operation(*operands)

    def rule(primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Array, Any]:
        moving = [i for i, t in enumerate(tangents) if not isinstance(t, SymbolicZero) and _is_float(primals[i])]
        if bilinear:
            terms = [operation(*(tangents[i] if j == i else _finite(x) for j, x in enumerate(primals))) for i in moving]
        else:
            # in 16 bits a slope overflows that is finite, and would be left out
            wide = _tree.widened(list(primals))
            terms = []
            for i in moving:
                term = tangents[i].astype(wide[i].dtype)
                for factor in _slope_factors(equation, operation, i, wide, guard):
                    term = term * _finite(factor)
                terms.append(term.astype(primals[i].dtype))
        return apply(*primals), sum(terms[1:], start=terms[0]) if terms else jnp.zeros_like(primals[0])

    apply.defjvp(rule, symbolic_zeros=True)
    return apply(*operands)


@jax.custom_jvp
def undefined_where(array: Array, wrong: Array) -> Array:
    """Return an array as it is, with NaN as its derivative where one flag says so."""
    del wrong
    return array


@undefined_where.defjvp
def _undefined_where_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    array, wrong = primals
    # one number for the whole array: this is kept for the way back, at every step
    factor = jnp.where(wrong, jnp.full((), jnp.nan, array.dtype), jnp.ones((), array.dtype))
    return undefined_where(array, wrong), tangents[0] * factor


def undefined_where_not_finite(array: Array) -> Array:
    """Return an array as it is, with NaN as its derivative where an entry is infinite or NaN.

    A step that overflows has no derivative, and must not be given a finite one by the slopes that are left out.
    """
    # 0 times what is not finite is NaN, and sums of zeros are exact: XLA adds floats in one loop over vectors, where it
    # writes the flags of all entries first, and goes through them one by one
    sick = (0 * lax.stop_gradient(array)).sum()
    return undefined_where(array, jnp.isnan(sick))


def _is_float(operand: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(operand), jnp.floating)


def _slope_factors(
    equation: _jaxpr.JaxprEqn, operation: Callable[..., Array], i: int, operands: list[Any], guard: Callable[..., Any]
) -> list[Array]:
    r"""Return factors of a partial derivative, each of them finite where the derivative is, although it may overflow.

    In float32 the slope of :math:`x^{-1/2}` overflows from :math:`x = 10^{-26}` down, where Adafactor meets gradients
    of :math:`10^{-13}`, and is multiplied by them; :math:`p x^{p - 1}` is :math:`x^p` times :math:`p / x`.
    """
    if equation.primitive.name == "sqrt":
        return [guard(_slope_of_root, *operands)]
    power = _falling_power(equation, i)
    if power is None:
        return [guard(_slope(operation, i), *operands)]
    return [guard(operation, *operands), guard(lambda x: jnp.asarray(power, x.dtype) / x, operands[i])]


def _falling_power(equation: _jaxpr.JaxprEqn, i: int) -> Any:
    """Return the negative power to which an operation raises its operand, if it does nothing else."""
    name = equation.primitive.name
    if name == "rsqrt":
        return -0.5
    if name == "div" and i == 1:
        return -1.0
    exponent = equation.params["y"] if name == "integer_pow" else None
    if name == "pow" and i == 0 and isinstance(equation.invars[1], _jaxpr.Literal):
        exponent = equation.invars[1].val
    return None if exponent is None or jnp.ndim(exponent) or not exponent < 0 else float(exponent)


def _slope_of_root(x: Array) -> Array:
    """Return the derivative of the square root.

    XLA would write 1 / sqrt(x) as rsqrt(x), which on the CPU takes 3 to 9 times as long as the root, the longest where
    some entries are zero, as Adam's second moments are. The maximum, which changes nothing, keeps it from that.
    """
    return jnp.asarray(0.5, x.dtype) / jnp.maximum(jnp.sqrt(x), jnp.zeros((), x.dtype))


def _slope(operation: Callable[..., Array], i: int) -> Callable[..., Array]:
    """Return the partial derivative of an entrywise operation by one of its operands."""

    def slope(*operands: Array) -> Array:
        def alone(x: Array) -> Array:
            return operation(*operands[:i], x, *operands[i + 1 :])

        return jax.jvp(alone, (operands[i],), (jnp.ones_like(operands[i]),))[1]

    return slope


def _finite(array: Array) -> Array:
    """Replace what is infinite or NaN by 0."""
    return jnp.where(jnp.isfinite(array), array, jnp.zeros_like(array))
