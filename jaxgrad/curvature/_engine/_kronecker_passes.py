"""The passes over a batch that Kronecker factors, and the correction of their eigenvalues, take."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxgrad import _check, _sharding, _tree
from jaxgrad._types import Array, AxisName, Params, Tree, Wrt
from jaxgrad._uses import _layout
from jaxgrad._uses._algebra import cut_rows
from jaxgrad._uses._batch import chunk_length
from jaxgrad._uses._chunks import over_chunks
from jaxgrad._uses._factors import Factors, OneHot
from jaxgrad._uses._plan import LeafPlan
from jaxgrad.curvature._engine._factor_sums import LeafForm, dense, form_of, sides_of, sums_of, together
from jaxgrad.curvature._engine._leaf_curvature import Eigen, rotated
from jaxgrad.curvature._engine._pseudo_gradients import Source, over_columns, pseudo_gradients

__all__ = ["correction", "factor_sums", "flattened", "forms_of"]

FORMED = 2**28
"""Bytes of formed gradients that a chunk may hold while eigenvalues are corrected."""


def flattened(batch: tuple[Any, ...], weights: Any, microbatch: int | None) -> tuple[tuple[Any, ...], Any, int | None]:
    """Return stacked batches as one, to be taken a batch at a time, where the weights have two axes.

    Raises:
        ValueError: If the weights do not fit the batch.
        TypeError: If they are no array.
    """
    if weights is None:
        return batch, None, microbatch
    if not hasattr(weights, "shape"):
        message = f"weights must be an array with a number for every example; got {_check.describe(weights)}"
        raise TypeError(message)
    shape = jnp.shape(weights)
    leading = {jnp.shape(leaf)[: len(shape)] for leaf in jax.tree.leaves(batch)}
    if len(shape) not in (1, 2) or leading != {shape}:
        message = (
            f"weights must be one number for every example: of shape (B,) for a batch, or (N, B) for N stacked batches;"
            f" got the shape {shape}, where the leaves of the batch begin with {sorted(leading)}"
        )
        raise ValueError(message)
    if len(shape) == 1:
        return batch, weights, microbatch
    joined = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
    return joined, weights.reshape(-1), microbatch or shape[1]


def forms_of(source: Source, params: Params, wrt: Wrt, approximation: str) -> tuple[LeafForm, ...]:
    """Choose how the curvature of every leaf is held."""
    one = jax.tree.map(lambda x: x[:1], source.batch)
    entries = jax.eval_shape(lambda chunk: pseudo_gradients(source, chunk, jnp.arange(1))[0], one)
    chosen = _tree.selected(params, wrt)
    paths = [path for path, keep in zip(_tree.leaf_paths(params), chosen, strict=True) if keep]
    leaves = zip(paths, source.problem.plan.leaves, entries, strict=True)
    return tuple(form_of(path, leaf, entry, approximation) for path, leaf, entry in leaves)


def factor_sums(
    source: Source,
    forms: Sequence[LeafForm],
    approximation: str,
    weights: Any,
    microbatch: int | None,
    axis_name: AxisName,
) -> tuple[tuple[Any, ...], Array, Tree]:
    """Return the sums of every leaf, the sum of the weights, and aux."""
    plan, every = source.problem.plan, _weights(source, weights)
    length = chunk_length(source.problem, microbatch, every.shape[0], source.at_once)

    def step(chunk: Any, real: Array) -> tuple[Tree, Tree]:
        examples, of_chunk = chunk
        counts = jnp.where(real, of_chunk, jnp.zeros_like(of_chunk))

        def reduce(entries: Any) -> tuple[Tree, Tree]:
            rows = zip(forms, plan.leaves, entries, strict=True)
            return sides_of(forms, [sums_of(form, leaf, entry, counts, approximation) for form, leaf, entry in rows])

        entering, leaving, aux = over_columns(source, examples, reduce)
        return together(forms, entering, leaving), aux

    sums, aux = over_chunks(step, (source.batch, every), jnp.ones(every.shape, bool), length)
    return *_sharding.sum_over((sums, jnp.sum(every)), axis_name), aux


def _weights(source: Source, weights: Any) -> Array:
    """Return a weight for every example, in the dtype of sums."""
    kept = _tree.accumulator(*(leaf.dtype for leaf in source.problem.leaves))
    size = _check.batch(source.batch[0])
    return jnp.ones(size, kept) if weights is None else weights.astype(kept)


def correction(
    source: Source,
    forms: Sequence[LeafForm],
    eigen: Sequence[Any],
    weights: Any,
    microbatch: int | None,
    axis_name: AxisName,
) -> tuple[tuple[Any, ...], Tree]:
    """Return the diagonal of every leaf's curvature in its eigenbases, ``None`` where there are no factors; and aux."""
    plan, every = source.problem.plan, _weights(source, weights)
    wanted = [i for i, form in enumerate(forms) if form.form == "kronecker"]
    length = chunk_length(source.problem, microbatch, every.shape[0], source.at_once)
    formed = sum(8 * source.at_once * _layout.size(sum(forms[i].parts, ())) for i in wanted if plan.leaves[i].rows > 1)
    length = max(1, min(length, FORMED // formed)) if formed else length

    def step(chunk: Any, real: Array) -> tuple[Tree, Tree]:
        examples, of_chunk = chunk
        counts = jnp.where(real, of_chunk, jnp.zeros_like(of_chunk))

        def reduce(entries: Any) -> tuple[Tree, Tree]:
            return (), [_squares(plan.leaves[i], forms[i], eigen[i], entries[i], counts) for i in wanted]

        _, squares, aux = over_columns(source, examples, reduce)
        return squares, aux

    sums, aux = over_chunks(step, (source.batch, every), jnp.ones(every.shape, bool), length)
    sums, total = _sharding.sum_over((sums, jnp.sum(every)), axis_name)
    total = jnp.where(total > 0, total, jnp.ones_like(total))
    found = dict(zip(wanted, sums, strict=True))
    return tuple(found[i] / total if i in found else None for i in range(len(forms))), aux


def _squares(leaf: LeafPlan, form: LeafForm, eigen: Eigen, uses: Sequence[Factors], weights: Array) -> Array:
    """Return the weighted sum of the squares of a leaf's gradients in its eigenbases: ``(groups, rows, columns)``."""
    way = leaf.uses[0].swapped
    if len(uses) == 1 and _terms_of(uses[0], way) == 1:
        return _squares_of_one_term(form, eigen, uses[0], way, weights)
    first = _terms_first(form, leaf, uses)
    turned = [Factors(*(_side(x, side, eigen, form, turn=first) for side, x in enumerate(use))) for use in uses]
    specs = ["bmgtr,bgtc->bmgrc" if of.swapped else "bgtr,bmgtc->bmgrc" for of in leaf.uses]
    total: Any = sum(jnp.einsum(spec, *use) for spec, use in zip(specs, turned, strict=True))
    total = total if first else rotated(total, eigen)
    squared = jnp.reshape(jnp.square(total), (-1, *total.shape[2:]))
    return jnp.sum(cut_rows(squared, jnp.repeat(weights, total.shape[1])), axis=0)


def _terms_first(form: LeafForm, leaf: LeafPlan, uses: Sequence[Factors]) -> bool:
    """Say whether it takes fewer multiplications to turn the terms than the gradients that they make.

    What enters is turned once for all pseudo-gradients of an example; they are as many as the cotangents.
    """
    _, *sides = form.sizes
    height, width = sides
    terms = 0
    for use, of in zip(uses, leaf.uses, strict=True):
        way = int(of.swapped)
        columns, count = use[1 - way].shape[1], _terms_of(use, of.swapped)  # type: ignore[union-attr]
        terms += count * (sides[way] ** 2 + columns * sides[1 - way] ** 2)
    return terms < columns * height * width * (height + width)


def _terms_of(use: Factors, way: bool) -> int:
    """Return how many outer products a use adds."""
    return use[1 - int(way)].shape[-2]  # type: ignore[union-attr]


def _side(x: Any, side: int, eigen: Eigen, form: LeafForm, *, turn: bool) -> Array:
    """Return one side of a use, ``(..., groups, terms, entries)``, in its eigenbasis or not."""
    entries, basis = dense(x, form.sizes[1 + side]), eigen[side]
    if basis is None or not turn:
        return entries
    return jnp.einsum("...gtd,gde->...gte", entries, basis.astype(entries.dtype), precision="highest")


def _squares_of_one_term(form: LeafForm, eigen: Eigen, use: Factors, way: bool, weights: Array) -> Array:
    """Square both sides of the one outer product: no gradient is formed."""
    enters, leaves = (1, 0) if way else (0, 1)
    squares = jnp.square(_side(use[leaves], leaves, eigen, form, turn=True))
    right = cut_rows(jnp.sum(squares[..., 0, :], axis=1), weights)
    x = use[enters]
    if isinstance(x, OneHot) and eigen[enters] is None:
        groups, width = form.sizes[0], form.sizes[1 + enters]
        at = jnp.broadcast_to(jnp.arange(groups), x.ids.shape[:2])
        out = jnp.zeros((groups, width, right.shape[-1]), right.dtype).at[at, x.ids[..., 0]].add(right)
    else:
        left = jnp.square(_side(x, enters, eigen, form, turn=True)[..., 0, :])
        left = cut_rows(left, weights, scaled=False)
        out = jnp.einsum("bgd,bgp->gdp", left, right, precision="highest")
    return jnp.swapaxes(out, -1, -2) if way else out
