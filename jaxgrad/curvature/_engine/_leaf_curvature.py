"""The curvature of one leaf: two Kronecker factors, a block or a diagonal; its products, and its eigenvalues."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgrad import _tree
from jaxgrad._types import Array
from jaxgrad._uses import _layout
from jaxgrad.curvature._engine._factor_sums import LeafForm, Pair

__all__ = ["Eigen", "damped_values", "eigen_of", "multiplied", "normalised", "transformed"]


class Eigen(NamedTuple):
    """The eigenbases of the two factors of a leaf, or of its block; ``None`` where the basis is that of the entries."""

    rows: Array | None
    """``(groups, rows, rows)``, its columns the eigenvectors; of a block ``(1, P, P)``."""
    columns: Array | None
    row_values: Array
    """``(groups, rows)``."""
    column_values: Array
    """``(groups, columns)``."""
    corrected: Array | None = None
    """``(groups, rows, columns)``: the curvature's diagonal in the bases, in place of the products of the values."""


def normalised(form: LeafForm, sums: Any, weight: Array, terms: Array) -> Any:
    """Return the curvature of a leaf from its sums over examples.

    Args:
        form: How it is held.
        sums: The sums.
        weight: What the weights of the examples add up to.
        terms: What they add up to where each is multiplied by the number of terms of its example.
    """
    total, every = (jnp.where(count > 0, count, jnp.ones_like(count)) for count in (weight, terms))
    if form.form != "kronecker":
        return sums / total
    if len(form.swapped) == 1:
        (pair,), (swapped,) = sums, form.swapped
        return Pair(pair.rows / (total if swapped else every), pair.columns / (every if swapped else total))
    # the inputs of one way are added to the cotangents of the other: on one scale, which no outer product notices
    scales = [_balance(form, pair) for pair in sums]
    rows = sum(pair.rows * scale for pair, scale in zip(sums, scales, strict=True))
    columns = sum(pair.columns / scale for pair, scale in zip(sums, scales, strict=True))
    return Pair(rows / every, columns / total)


def _balance(form: LeafForm, pair: Pair) -> Array:
    """Return what the rows are to be multiplied by, and the columns divided, to give both moments one trace."""
    rows, columns = (_trace(side, whole) for side, whole in zip(pair, form.whole, strict=True))
    usable = (rows > 0) & (columns > 0)
    ones = jnp.ones_like(rows)
    return jnp.where(usable, jnp.sqrt(jnp.where(usable, columns, ones) / jnp.where(usable, rows, ones)), ones)


def _trace(side: Array, whole: bool) -> Array:
    """Return the trace of a second moment over all groups."""
    return jnp.sum(jnp.diagonal(side, axis1=-2, axis2=-1) if whole else side)


def multiplied(form: LeafForm, held: Any, vector: Array, damping: Any, style: str) -> Array:
    """Return the damped curvature of a leaf times a vector, in the dtype of the curvature."""
    damping = jnp.asarray(damping, vector.dtype)
    if form.form == "diagonal":
        return (held + damping) * vector
    if form.form == "block":
        return (held @ vector.reshape(-1)).reshape(vector.shape) + damping * vector
    matrix = _layout.matrices(vector, form.parts)
    if style == "pi":
        height, width = (_trace_by_group(side, whole) for side, whole in zip(held, form.whole, strict=True))
        extra = _pi(form, height, width, damping)
        rows, columns = map(_shifted, held, extra, form.whole)
        out = _sides(rows, columns, form.whole, matrix)
    else:
        out = _sides(held.rows, held.columns, form.whole, matrix) + damping * matrix
    return _layout.restore(out, form.parts, form.shape)


def _sides(rows: Array, columns: Array, whole: tuple[bool, bool], matrix: Array) -> Array:
    """Multiply matrices ``(groups, rows, columns)`` from both sides by symmetric ones."""
    matrix = rows @ matrix if whole[0] else rows[..., None] * matrix
    return matrix @ columns if whole[1] else matrix * columns[:, None]


def _shifted(side: Array, more: Array, whole: bool) -> Array:
    """Add a number, one for each group, to the diagonals."""
    if not whole:
        return side + more[:, None]
    return side + more[:, None, None] * jnp.eye(side.shape[-1], dtype=side.dtype)[None]


def _trace_by_group(side: Array, whole: bool) -> Array:
    """Return the traces of second moments."""
    return jnp.sum(jnp.diagonal(side, axis1=-2, axis2=-1) if whole else side, axis=-1)


def _pi(form: LeafForm, rows: Array, columns: Array, damping: Any) -> tuple[Array, Array]:
    """Return what is added to both sides: ``p r`` and ``r / p``, from their traces, group by group."""
    _, height, width = form.sizes
    usable = (rows > 0) & (columns > 0)
    ones = jnp.ones_like(rows)
    ratio = jnp.where(usable, rows, ones) / height / (jnp.where(usable, columns, ones) / width)
    p = jnp.sqrt(jnp.where(usable, ratio, ones))
    root = _tree.safe_sqrt(jnp.asarray(damping, rows.dtype))
    return p * root, root / p


def eigen_of(form: LeafForm, held: Any) -> Any:
    """Return the eigenvalues and eigenvectors of a leaf's curvature; its entries where it is a diagonal."""
    if form.form == "diagonal":
        return held
    if form.form == "block":
        values, basis = _spectrum(held[None], whole=True)
        return Eigen(basis, None, values, jnp.ones((1, 1), values.dtype))
    (row_values, rows), (column_values, columns) = (
        _spectrum(side, whole=whole) for side, whole in zip(held, form.whole, strict=True)
    )
    return Eigen(rows, columns, row_values, column_values)


def _spectrum(side: Array, *, whole: bool) -> tuple[Array, Array | None]:
    """Return the eigenvalues of second moments, those below zero by rounding as zero, and the eigenvectors."""
    if not whole:
        return side, None
    values, basis = jnp.linalg.eigh(side)
    return jnp.maximum(values, 0), basis


def damped_values(form: LeafForm, eigen: Any, damping: Any, style: str) -> Array:
    """Return the eigenvalues of the damped curvature of a leaf."""
    damping = jnp.asarray(damping, jax.tree.leaves(eigen)[0].dtype)
    if form.form == "diagonal":
        return eigen + damping
    if style == "pi" and form.form == "kronecker":
        # the traces are the sums of the eigenvalues
        more = _pi(form, jnp.sum(eigen.row_values, -1), jnp.sum(eigen.column_values, -1), damping)
        rows, columns = (v + m[:, None] for v, m in zip(eigen[2:4], more, strict=True))
        return rows[..., None] * columns[:, None]
    values = eigen.corrected
    return (eigen.row_values[..., None] * eigen.column_values[:, None] if values is None else values) + damping


def transformed(form: LeafForm, eigen: Any, values: Array, vector: Array, function: Callable[[Array], Array]) -> Array:
    """Return ``U f(values) U^T`` times a vector, with the eigenvectors ``U`` of a leaf's curvature."""
    if form.form == "diagonal":
        return function(values) * vector
    whole = form.form == "kronecker"
    matrix = _layout.matrices(vector, form.parts) if whole else vector.reshape(1, -1, 1)
    scaled = function(values) * rotated(matrix, eigen)
    out = _turned(scaled, eigen.rows, eigen.columns)
    return _layout.restore(out, form.parts, form.shape) if whole else out.reshape(vector.shape)


def rotated(matrix: Array, eigen: Eigen) -> Array:
    """Return ``U^T M V``: the coordinates of matrices ``(..., groups, rows, columns)`` in the bases of both sides."""
    return _turned(matrix, *(None if side is None else jnp.swapaxes(side, -1, -2) for side in eigen[:2]))


def _turned(matrix: Array, rows: Array | None, columns: Array | None) -> Array:
    """Return ``R M C^T``."""
    if rows is not None:
        matrix = jnp.einsum("gij,...gjk->...gik", rows, matrix)
    return matrix if columns is None else jnp.einsum("...gik,glk->...gil", matrix, columns)
