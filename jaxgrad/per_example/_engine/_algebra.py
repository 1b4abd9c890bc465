"""The algebra of outer products: norms, sums and inner products of gradients that are never formed."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _tree
from jaxgrad._types import Array
from jaxgrad.per_example._engine import _layout
from jaxgrad.per_example._engine._plan import LeafPlan

__all__ = ["Factors", "form", "gradient_of_sum", "gram_squares", "squares"]

CANCELLATION = 3e-3
"""A squared norm below this part of the sum of its absolute terms is formed anew: in float32 the terms' rounding
would show in its fourth digit."""


UNROLLED = 16
"""Up to how many formed gradients are added one by one."""


class Factors(NamedTuple):
    """The gradients of a batch with respect to one leaf as sums of outer products.

    Both have the shape ``(batch, groups, terms, entries)``; integers of shape ``(batch, groups, terms)`` stand for
    one-hot rows.
    """

    rows: Array
    columns: Array


def wide(dtype: Any) -> Any:
    """Return the dtype in which a leaf's products are summed."""
    return _tree.accumulator(dtype)


def squares(factors: Sequence[Factors]) -> Array:
    """Return the squared norms of gradients that are one outer product each."""
    (one,) = factors
    return jnp.sum(_square_rows(one.rows) * _square_rows(one.columns), axis=(1, 2))


def gram_squares(plans: Sequence[LeafPlan], leaves: Sequence[Sequence[Factors]]) -> list[Array]:
    """Return the squared norms of the gradients of several leaves by Gram matrices; what cancels is formed anew."""
    sums = [_gram_sums(factors) for factors in leaves]
    totals = [total for total, _ in sums]
    # an example whose gradient is zero cancels for good
    suspect = [~(total > CANCELLATION * absolute) & (absolute > 0) for total, absolute in sums]
    if not totals:
        return []
    some = functools.reduce(jnp.logical_or, suspect)
    return lax.cond(jnp.any(some), lambda: _repaired(plans, leaves, totals, suspect, some), lambda: totals)


def _repaired(
    plans: Sequence[LeafPlan],
    leaves: Sequence[Sequence[Factors]],
    totals: list[Array],
    suspect: list[Array],
    some: Array,
) -> list[Array]:
    """Form the gradients of suspect examples one after the other, and measure them."""

    def measure(i: Array) -> list[Array]:
        one = jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, i, 1), list(leaves))
        formed = [form(plan, factors) for plan, factors in zip(plans, one, strict=True)]
        anew = [jnp.sum(jnp.square(g.astype(t.dtype))) for g, t in zip(formed, totals, strict=True)]
        return [lax.select(s[i], new, t[i]) for s, new, t in zip(suspect, anew, totals, strict=True)]

    return lax.map(lambda i: lax.cond(some[i], measure, lambda i: [t[i] for t in totals], i), jnp.arange(some.size))


def _square_rows(x: Array) -> Array:
    """Return the squared length of every row; a one-hot row has length 1."""
    if jnp.issubdtype(x.dtype, jnp.integer):
        return jnp.ones(x.shape, jnp.float32)
    return jnp.einsum("bgtd,bgtd->bgt", x, x, precision="highest", preferred_element_type=wide(x.dtype))


def _gram_sums(factors: Sequence[Factors]) -> tuple[Array, Array]:
    """Return the sums over all pairs of terms of the product of their inner products, and of its absolute value."""
    total: Any = 0
    absolute: Any = 0
    for i, one in enumerate(factors):
        for other in factors[i:]:
            product = inner_products(one.rows, other.rows) * inner_products(one.columns, other.columns)
            weight = 1 if other is one else 2
            total += weight * jnp.sum(product, axis=(1, 2, 3))
            absolute += weight * jnp.sum(jnp.abs(product), axis=(1, 2, 3))
    return total, absolute


def inner_products(x: Array, y: Array) -> Array:
    """Return the inner products of all rows of ``x`` with all rows of ``y``: ``(batch, groups, terms, terms)``."""
    hot_x, hot_y = (jnp.issubdtype(z.dtype, jnp.integer) for z in (x, y))
    if hot_x and hot_y:
        return (x[..., :, None] == y[..., None, :]).astype(jnp.float32)
    if hot_x or hot_y:
        ids, dense = (x, y) if hot_x else (y, x)
        taken = jnp.take_along_axis(dense, ids[..., None, :], axis=-1).astype(wide(dense.dtype))
        return jnp.swapaxes(taken, -1, -2) if hot_x else taken
    return jnp.einsum("bgtd,bgsd->bgts", x, y, precision="highest", preferred_element_type=wide(x.dtype))


def form(plan: LeafPlan, factors: Sequence[Factors]) -> Array:
    """Form the gradient of every example: ``(batch, groups, rows, columns)``."""
    return sum(_contract(plan, f, "bgtr,bgtc->bgrc") for f in factors)  # type: ignore[return-value]


def gradient_of_sum(plan: LeafPlan, factors: Sequence[Factors], scales: Array) -> Array:
    """Return the sum of the gradients, each scaled, in the shape of the leaf."""
    total = sum(_contract(plan, _scaled(f, scales), "bgtr,bgtc->grc") for f in factors)
    return leaf_of(plan, total)


def leaf_of(plan: LeafPlan, matrix: Any) -> Array:
    """Give a gradient of shape ``(groups, rows, columns)`` the shape of the leaf."""
    assert plan.split is not None, "only leaves with sites are matrices"
    return _layout.restore(matrix, plan.split, plan.shape)


def _scaled(factors: Factors, scales: Array) -> Factors:
    """Scale the smaller dense factor of every example, and blank both where the scale is zero."""
    dense = [x for x in factors if jnp.issubdtype(x.dtype, jnp.floating)]
    # of two equals the cotangent: XLA shares its scaled copy with the bias of the layer
    chosen = min(reversed(dense), key=lambda x: x.size)

    def apply(x: Array) -> Array:
        return x if jnp.issubdtype(x.dtype, jnp.integer) else cut_rows(x, scales, scaled=x is chosen)

    return Factors(*map(apply, factors))


def cut_rows(x: Array, scales: Array, *, scaled: bool = True) -> Array:
    """Scale every example, and blank those whose scale is zero: zero times NaN is NaN."""
    flat, column = flat_rows(x), scales.astype(x.dtype)[:, None]
    kept = jnp.broadcast_to(column != 0, flat.shape)
    return lax.select(kept, column * flat if scaled else flat, jnp.zeros_like(flat)).reshape(x.shape)


def _contract(plan: LeafPlan, factors: Factors, spec: str) -> Array:
    """Sum the outer products over the terms, and over the batch where ``spec`` says so."""
    rows, columns = factors
    hot_rows, hot_columns = (jnp.issubdtype(x.dtype, jnp.integer) for x in factors)
    if not (hot_rows or hot_columns):
        return _dense_contraction(rows, columns, summed=not spec.endswith("bgrc"))
    flipped = hot_columns and not hot_rows
    ids, values = (columns, rows) if flipped else (rows, columns)
    table = _scatter(ids, values, plan.sizes[2 if flipped else 1], summed=not spec.endswith("bgrc"))
    return jnp.swapaxes(table, -1, -2) if flipped else table


def _dense_contraction(rows: Array, columns: Array, *, summed: bool) -> Array:
    """Multiply dense factors over their terms."""
    batch, groups, terms, _ = rows.shape
    if summed and groups == 1:
        flat = [x.reshape(batch * terms, x.shape[-1]) for x in (rows, columns)]
        return jnp.einsum("tr,tc->rc", *flat, preferred_element_type=wide(rows.dtype))[None]
    spec = "bgtr,bgtc->grc" if summed else "bgtr,bgtc->bgrc"
    return jnp.einsum(spec, rows, columns, preferred_element_type=wide(rows.dtype))


def _scatter(ids: Array, values: Array, height: int, *, summed: bool) -> Array:
    """Add rows into tables of ``height`` rows, by their indices."""
    batch, groups, _, width = values.shape
    lead = (groups,) if summed else (batch, groups)
    b, g = jnp.arange(batch)[:, None, None], jnp.arange(groups)[None, :, None]
    table = jnp.zeros((*lead, height, width), wide(values.dtype))
    where = (jnp.broadcast_to(g, ids.shape), ids) if summed else (*jnp.broadcast_arrays(b, g, ids)[:2], ids)
    return table.at[where].add(values.astype(table.dtype))


def flat_rows(x: Array) -> Array:
    """Return an array as one row an example."""
    return jnp.reshape(x, (x.shape[0], -1))


def squares_of(gradients: Array) -> Array:
    """Return the squared norms of gradients that are formed."""
    flat = flat_rows(gradients)
    return jnp.einsum("bk,bk->b", flat, flat, precision="highest", preferred_element_type=wide(flat.dtype))


def sum_of(gradients: Array, scales: Array) -> Array:
    """Return the sum of gradients that are formed, each scaled; those with the scale zero are cut out."""
    scaled, width = cut_rows(gradients, scales), wide(gradients.dtype)
    if gradients.shape[0] <= UNROLLED:
        # one pass over memory; XLA's sum over a leading axis is slow on CPUs
        return functools.reduce(
            jnp.add, [lax.index_in_dim(scaled, i, keepdims=False).astype(width) for i in range(scaled.shape[0])]
        )
    total = jnp.einsum(
        "b,bk->k", jnp.ones(scaled.shape[0], scaled.dtype), flat_rows(scaled), preferred_element_type=width
    )
    return total.reshape(gradients.shape[1:])
