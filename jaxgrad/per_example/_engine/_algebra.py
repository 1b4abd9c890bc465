"""The algebra of outer products: norms, sums and inner products of gradients that are never formed."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxgrad import _tree
from jaxgrad._types import Array
from jaxgrad.per_example._engine import _layout
from jaxgrad.per_example._engine._plan import LeafPlan

__all__ = ["Factors", "form", "gradient_of_sum", "squares"]

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


def squares(plan: LeafPlan, factors: Sequence[Factors]) -> Array:
    """Return the squared norms of a leaf's gradients, held as factors."""
    if plan.rows == 1:
        (one,) = factors
        return jnp.sum(_square_rows(one.rows) * _square_rows(one.columns), axis=(1, 2))
    total, absolute = _gram_sums(factors)
    suspect = ~(total > CANCELLATION * absolute)
    # an example whose gradient is zero cancels for good
    suspect &= absolute > 0
    return lax.cond(jnp.any(suspect), lambda: _repaired(plan, factors, total, suspect), lambda: total)


def _repaired(plan: LeafPlan, factors: Sequence[Factors], total: Array, suspect: Array) -> Array:
    """Form the suspect gradients one after the other, and measure them."""

    def measure(i: Array) -> Array:
        one = [Factors(*(lax.dynamic_slice_in_dim(x, i, 1) for x in f)) for f in factors]
        return jnp.sum(jnp.square(form(plan, one).astype(total.dtype)))

    return lax.map(lambda i: lax.cond(suspect[i], measure, lambda i: total[i], i), jnp.arange(total.shape[0]))


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
    chosen = min(dense, key=lambda x: x.size)

    def apply(x: Array) -> Array:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        scale = scales.astype(x.dtype)[:, None, None, None]
        return jnp.where(scale == 0, jnp.zeros_like(x), scale * x if x is chosen else x)

    return Factors(*map(apply, factors))


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
    scales, width = scales.astype(gradients.dtype), wide(gradients.dtype)
    if gradients.shape[0] <= UNROLLED:
        # one pass over memory; XLA's sum over a leading axis is slow on CPUs
        terms = [
            jnp.where(s == 0, jnp.zeros_like(g), s * g).astype(width) for s, g in zip(scales, gradients, strict=True)
        ]
        return functools.reduce(jnp.add, terms)
    kept = jnp.where(scales.reshape(-1, *(1,) * (gradients.ndim - 1)) == 0, jnp.zeros_like(gradients), gradients)
    total = jnp.einsum("b,bk->k", scales, flat_rows(kept), preferred_element_type=width)
    return total.reshape(gradients.shape[1:])
