"""The inner products of the gradients of all pairs of examples, from their factors."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxgrad import _tree
from jaxgrad._types import Array
from jaxgrad._uses import _algebra
from jaxgrad._uses._factors import Factor, dtype_of_sum
from jaxgrad._uses._gradient_factors import GradientFactors
from jaxgrad._uses._plan import LeafPlan

__all__ = ["sum_of_products"]


def sum_of_products(plans: tuple[LeafPlan, ...], first: GradientFactors, second: GradientFactors) -> Array:
    """Add the inner products of all leaves."""
    pairs = zip(plans, first.entries, second.entries, strict=True)
    products = [_product(plan, a, b) for plan, a, b in pairs if a is not None]
    kept = _tree.accumulator(first.losses.dtype, *(p.dtype for p in products))
    blank = jnp.zeros((first.losses.shape[0], second.losses.shape[0]), kept)
    return functools.reduce(jnp.add, [p.astype(kept) for p in products], blank)


def _product(plan: LeafPlan, a: Any, b: Any) -> Array:
    """Return the inner products of the gradients of one leaf."""
    if plan.method == "ghost" and plan.rows == 1:
        kept = dtype_of_sum(a)
        rows, columns = (_pairwise(x, y, kept) for x, y in zip(a[0], b[0], strict=True))
        return jnp.sum(rows * columns, axis=0)
    left, right = (_algebra.flat_rows(_algebra.form(plan, x) if plan.method == "ghost" else x) for x in (a, b))
    kept = _tree.accumulator(left.dtype)
    return jnp.einsum("ik,jk->ij", left, right, precision="highest", preferred_element_type=kept)


def _pairwise(x: Factor, y: Factor, kept: Any) -> Array:
    """Return the inner products of single rows across a batch: ``(groups, B, B')``."""
    x, y = jax.tree.map(lambda z: jnp.swapaxes(z[:, :, 0], 0, 1)[None], (x, y))
    return _algebra.inner_products(x, y, kept)[0]
