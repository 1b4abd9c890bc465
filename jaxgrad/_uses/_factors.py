"""The factors of outer products: dense rows or one-hot rows, real, and of one dtype for all uses of a leaf."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgrad import _tree
from jaxgrad._types import Array

__all__ = ["Factor", "Factors", "OneHot", "balanced", "dtype_of_sum", "in_one_dtype", "real_pair", "wide"]


class OneHot(NamedTuple):
    """Rows of zeros with a single one, kept as its index: integers without the axis of the entries.

    A type of its own, since activations may be integers too.
    """

    ids: Array


Factor = Array | OneHot


class Factors(NamedTuple):
    """The gradients of a batch with respect to one leaf as sums of outer products.

    Dense factors have the shape ``(batch, groups, terms, entries)``.
    """

    rows: Factor
    columns: Factor


def wide(dtype: jnp.dtype) -> jnp.dtype:
    """Return the dtype in which a leaf's products are summed."""
    return _tree.accumulator(dtype)


def dtype_of_sum(factors: Sequence[Factors]) -> jnp.dtype:
    """Return the dtype in which the products of a leaf's factors are summed."""
    return wide(next(x.dtype for x in factors[0] if not isinstance(x, OneHot)))


def real_pair(left: Factor, right: Array) -> tuple[Factor, Array]:
    """Return real factors of the real part of a gradient, of shape ``(groups, terms, entries)``.

    A real weight that meets complex numbers has the real part of the complex gradient, and
    ``Re(u v^T) = Re(u) Re(v)^T - Im(u) Im(v)^T``: twice as many real terms.
    """
    moving = [x for x in (left, right) if not isinstance(x, OneHot)]
    if len([x for x in moving if jnp.iscomplexobj(x)]) < 2:
        left = left if isinstance(left, OneHot) else jnp.real(left)
        return left, jnp.real(right)
    return (
        jnp.concatenate([jnp.real(left), -jnp.imag(left)], axis=1),  # type: ignore[arg-type]
        jnp.concatenate([jnp.real(right), jnp.imag(right)], axis=1),
    )


def in_one_dtype(uses: Sequence[Factors], leaf: jnp.dtype) -> list[Factors]:
    """Bring the dense factors of all uses of a leaf into one dtype: the widest, where they differ.

    Integers and booleans take the dtype of the others. Products of 16-bit numbers are exact in float32, so that such
    factors stay as narrow as they are; those of float32 numbers are not exact in float64, where a float64 leaf is
    summed.
    """
    dense = [x.dtype for x in jax.tree.leaves(list(uses), is_leaf=_is_one_hot) if not isinstance(x, OneHot)]
    floats = {dtype for dtype in dense if jnp.issubdtype(dtype, jnp.floating)}
    kept = _tree.accumulator(leaf, *floats)
    shared = floats.pop() if len(floats) == 1 else kept
    shared = shared if wide(shared) == kept else kept

    def cast(x: Factor) -> Factor:
        return x if isinstance(x, OneHot) else x.astype(shared)

    return [Factors(*map(cast, use)) for use in uses]


def _is_one_hot(x: object) -> bool:
    """Say whether a factor is one-hot."""
    return isinstance(x, OneHot)


def balanced(uses: Sequence[Factors]) -> tuple[list[Factors], Array]:
    """Scale factors by powers of two, so that their products neither overflow nor underflow.

    Returns:
        The factors, and the number of shape ``(batch,)`` that their gradient is to be multiplied by.
    """
    kept = dtype_of_sum(uses)
    parts: list[Any] = [[_unit_rows(x, kept) for x in use] for use in uses]
    sizes = [left_unit * right_unit for (_, left_unit), (_, right_unit) in parts]
    largest = jnp.max(jnp.stack([jnp.max(s, axis=(1, 2), initial=0.0) for s in sizes]), axis=0)
    unit = _tree.power_of_two(largest)
    out = []
    for ((rows, _), (columns, _)), size in zip(parts, sizes, strict=True):
        weight = (size / unit[:, None, None])[..., None]
        dense_columns = not isinstance(columns, OneHot)
        out.append(Factors(rows, columns * weight) if dense_columns else Factors(rows * weight, columns))
    return out, unit


def _unit_rows(x: Factor, kept: jnp.dtype) -> tuple[Factor, Array]:
    """Return rows whose largest entry is about 1, and the powers of two that they were divided by."""
    if isinstance(x, OneHot):
        return x, jnp.ones((), kept)
    x = x.astype(kept)
    unit = _tree.power_of_two(jnp.max(jnp.abs(x), axis=-1, initial=0.0))
    return x / unit[..., None], unit
