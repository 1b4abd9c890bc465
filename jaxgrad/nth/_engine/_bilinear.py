"""Rules of products and quotients."""

from typing import Any

from jax import lax

from jaxgrad.nth._engine._interpret import bind
from jaxgrad.nth._engine._registry import Mode, rule
from jaxgrad.nth._engine._series import Series, add, cauchy, constant, is_constant, square, subtract

__all__: list[str] = []


@rule("conv_general_dilated", "dot_general", "mul")
def bilinear(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Multiply: one product a degree where one operand is constant, every pair of degrees where none is."""
    u, w = operands

    def term(a: Any, b: Any) -> Any:
        return None if a is None or b is None else bind(eqn, a, b)[0]

    if eqn.primitive.name == "mul" and u is w:
        return [tuple(square(u, k) for k in range(mode.order + 1))]
    return [tuple(add(*[term(u[j], w[k - j]) for j in range(k + 1)]) for k in range(mode.order + 1))]


@rule("square", pointwise=True)
def squared(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Multiply a series with itself."""
    del eqn
    return [tuple(square(operands[0], k) for k in range(mode.order + 1))]


@rule("div")
def quotient(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Solve ``w y = u`` degree by degree."""
    u, w = operands
    y: list[Any] = bind(eqn, u[0], w[0])
    for k in range(1, mode.order + 1):
        rest = subtract(u[k], None if is_constant(w) else cauchy(tuple(y), w, k, last=k - 1))
        y.append(None if rest is None else rest / w[0])
    return [tuple(y)]


@rule("integer_pow", pointwise=True)
def integer_power(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Multiply by repeated squaring, exact at a base of zero; a negative power is the quotient of a positive one."""
    degrees = range(mode.order + 1)

    def power(u: Series, n: int) -> Series:
        if n == 1:
            return u
        half = power(u, n // 2)
        even = tuple(square(half, k) for k in degrees)
        return even if n % 2 == 0 else tuple(cauchy(even, u, k) for k in degrees)

    (u,), n = operands, eqn.params["y"]
    if n == 0:
        return [constant(bind(eqn, u[0])[0], mode.order)]
    below = power(u, abs(n))
    if n > 0:
        return [below]
    y = bind(eqn, u[0])
    for k in degrees[1:]:
        rest = cauchy(tuple(y), below, k, last=k - 1)
        y.append(None if rest is None else lax.neg(rest) * y[0])
    return [tuple(y)]
