"""The algebra of outer products: norms, sums and inner products of gradients that are never formed."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxgrad._types import Array
from jaxgrad._uses import _layout
from jaxgrad._uses._factors import Factor, Factors, OneHot, dtype_of_sum, wide
from jaxgrad._uses._plan import LeafPlan

__all__ = ["Square", "form", "gradient_of_sum", "gram_square", "square_of", "squares"]

CANCELLATION = 3e-3
"""A squared norm below this part of the sum of its absolute terms is formed anew: in float32 the terms' rounding
would show in its fourth digit."""


UNROLLED = 16
"""Up to how many formed gradients are added one by one."""


class Square(NamedTuple):
    """The squared norms of a batch's gradients with respect to one leaf, each of shape ``(batch,)``."""

    total: Array
    cancels: Array | None = None
    """Whether the sum cancels so far that its digits are rounding."""
    reach: Array | None = None
    """What a product of squared factors that has underflowed may have been multiplied by."""


def square_of(gradients: Array) -> Square:
    """Return the squared norms of gradients that are formed."""
    flat = flat_rows(gradients)
    return Square(jnp.einsum("bk,bk->b", flat, flat, precision="highest", preferred_element_type=wide(flat.dtype)))


def squares(factors: Sequence[Factors]) -> Square:
    """Return the squared norms of gradients that are one outer product each."""
    (one,) = factors
    rows, columns = (_square_rows(x, dtype_of_sum(factors)) for x in one)
    return Square(jnp.sum(rows * columns, axis=(1, 2)), None, _reach([rows, columns]))


def gram_square(factors: Sequence[Factors]) -> Square:
    """Return the squared norms of sums of outer products by Gram matrices."""
    kept = dtype_of_sum(factors)
    total: Any = 0
    absolute: Any = 0
    diagonals = []
    for i, one in enumerate(factors):
        for other in factors[i:]:
            grams = [inner_products(x, y, kept) for x, y in zip(one, other, strict=True)]
            product = grams[0] * grams[1]
            weight = 1 if other is one else 2
            total += weight * jnp.sum(product, axis=(1, 2, 3))
            absolute += weight * jnp.sum(jnp.abs(product), axis=(1, 2, 3))
            if other is one:
                diagonals += [_diagonal(gram) for gram in grams]
    # an example whose gradient is zero cancels for good
    return Square(total, ~(total > CANCELLATION * absolute) & (absolute > 0), _reach(diagonals))


def _diagonal(gram: Array) -> Array:
    """Return the diagonals of square matrices, as a slice: a gather would be slow."""
    flat = gram.reshape(*gram.shape[:-2], -1)
    return flat[..., :: gram.shape[-1] + 1]


def _reach(squared: list[Array]) -> Array:
    """Return the largest squared length of a row."""
    return functools.reduce(jnp.maximum, [jnp.max(x, axis=(1, 2)) for x in squared])


def _square_rows(x: Factor, kept: Any) -> Array:
    """Return the squared length of every row; a one-hot row has length 1."""
    if isinstance(x, OneHot):
        return jnp.ones(x.ids.shape, kept)
    return jnp.einsum("bgtd,bgtd->bgt", x, x, precision="highest", preferred_element_type=kept)


def inner_products(x: Factor, y: Factor, kept: Any) -> Array:
    """Return the inner products of all rows of ``x`` with all rows of ``y``: ``(batch, groups, terms, terms)``."""
    if isinstance(x, OneHot):
        if isinstance(y, OneHot):
            return (x.ids[..., :, None] == y.ids[..., None, :]).astype(kept)
        return jnp.swapaxes(inner_products(y, x, kept), -1, -2)
    if isinstance(y, OneHot):
        return jnp.take_along_axis(x, y.ids[..., None, :], axis=-1).astype(kept)
    return jnp.einsum("bgtd,bgsd->bgts", x, y, precision="highest", preferred_element_type=kept)


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
    """Scale the smaller dense factor of every example, and blank both where the scale is zero.

    In the dtype of the sum: rounded to 16 bits the scales, or what they have scaled, would make a clipped gradient
    longer than its limit.
    """
    dense = [x for x in factors if not isinstance(x, OneHot)]
    # of two equals the cotangent: XLA shares its scaled copy with the bias of the layer
    chosen = min(reversed(dense), key=lambda x: x.size)

    def apply(x: Factor) -> Factor:
        return x if isinstance(x, OneHot) else cut_rows(x.astype(wide(x.dtype)), scales, scaled=x is chosen)

    return Factors(*map(apply, factors))


def cut_rows(x: Array, scales: Array, *, scaled: bool = True) -> Array:
    """Scale every example, and blank those whose scale is zero: zero times NaN is NaN."""
    flat, column = flat_rows(x), scales.astype(x.dtype)[:, None]
    kept = jnp.broadcast_to(column != 0, flat.shape)
    return lax.select(kept, column * flat if scaled else flat, jnp.zeros_like(flat)).reshape(x.shape)


def _contract(plan: LeafPlan, factors: Factors, spec: str) -> Array:
    """Sum the outer products over the terms, and over the batch where ``spec`` says so."""
    rows, columns = factors
    summed = not spec.endswith("bgrc")
    if isinstance(rows, OneHot):
        assert not isinstance(columns, OneHot), "a cotangent is never one-hot"
        return _scatter(rows.ids, columns, plan.sizes[1], summed=summed)
    if isinstance(columns, OneHot):
        return jnp.swapaxes(_scatter(columns.ids, rows, plan.sizes[2], summed=summed), -1, -2)
    return _dense_contraction(rows, columns, summed=summed)


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


def sum_of(gradients: Array, scales: Array) -> Array:
    """Return the sum of gradients that are formed, each scaled; those with the scale zero are cut out."""
    width = wide(gradients.dtype)
    scaled = cut_rows(gradients.astype(width), scales)
    if gradients.shape[0] <= UNROLLED:
        # one pass over memory; XLA's sum over a leading axis is slow on CPUs
        return functools.reduce(jnp.add, [lax.index_in_dim(scaled, i, keepdims=False) for i in range(scaled.shape[0])])
    total = jnp.einsum(
        "b,bk->k", jnp.ones(scaled.shape[0], scaled.dtype), flat_rows(scaled), preferred_element_type=width
    )
    return total.reshape(gradients.shape[1:])
