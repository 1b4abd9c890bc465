"""Rules of linear primitives: each coefficient by itself."""

from typing import Any

import jax.numpy as jnp

from jaxgrad._jaxpr import bind, is_inexact
from jaxgrad.nth._engine._registry import Mode, rule
from jaxgrad.nth._engine._series import Series, add, constant, subtract

__all__: list[str] = []


@rule(
    "all_gather", "broadcast_in_dim", "complex", "concatenate", "conj", "convert_element_type", "copy", "copy_p",
    "cumsum", "dynamic_slice", "dynamic_update_slice", "expand_dims", "fft", "gather", "imag", "neg",
    "optimization_barrier", "pad", "ppermute", "psum", "real", "reduce_precision", "reduce_sum", "reduce_window_sum",
    "reshape", "rev", "scatter", "scatter-add", "select_n", "slice", "split", "squeeze", "stack", "transpose",
    "unstack",
    sums=True,
)  # fmt: skip
def linear(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Apply the primitive to the coefficients of each degree; integer operands choose places and do not move."""
    moving = [
        is_inexact(series[0]) if hasattr(series[0], "dtype") else isinstance(series[0], float) for series in operands
    ]

    def degree(k: int) -> list[Any]:
        row = [series[k] if move else series[0] for series, move in zip(operands, moving, strict=True)]
        if k and all(c is None for c, move in zip(row, moving, strict=True) if move):
            return [None] * len(eqn.outvars)
        return bind(eqn, *[jnp.zeros_like(s[0]) if c is None else c for c, s in zip(row, operands, strict=True)])

    rows = [degree(k) for k in range(mode.order + 1)]
    return [
        tuple(row[i] for row in rows) if is_inexact(var) else constant(rows[0][i], mode.order)
        for i, var in enumerate(eqn.outvars)
    ]


@rule("add", "add_any", "sub", sums=True)
def addition(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Add or subtract degree by degree; a scalar operand may stand beside an array."""
    combine = subtract if eqn.primitive.name == "sub" else add
    shape = eqn.outvars[0].aval.shape

    def spread(a: Any) -> Any:
        return a if a is None or jnp.shape(a) == shape else jnp.broadcast_to(a, shape)

    u, w = operands
    return [tuple(spread(combine(u[k], w[k])) for k in range(mode.order + 1))]


@rule("ceil", "floor", "round", "sign", "stop_gradient", sums=True)
def flat(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Apply a primitive whose derivative JAX defines as zero."""
    return [constant(value, mode.order) for value in bind(eqn, *[series[0] for series in operands])]
