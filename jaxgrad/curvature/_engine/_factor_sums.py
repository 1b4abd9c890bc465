"""Sums over a batch that a Kronecker-factored curvature is made of: second moments of both sides, blocks, diagonals.

A pseudo-gradient of a leaf, seen as a matrix, is ``sum_t r_t c_t^T`` over its uses and positions ``t``; one side of a
term is what enters the use, the other the cotangent of what leaves it. Its block of the curvature is approximated by

    expand:  (1/W) (1/T) [sum_nt w_n a_nt a_nt^T] (x) [sum_nmt w_n b_nmt b_nmt^T] / W
    reduce:  (1/W) [sum_n w_n a_n a_n^T] (x) [sum_nm w_n b_nm b_nm^T] / W,   a_n = mean_t a_nt,  b_nm = sum_t b_nmt

with the weights' sum ``W``, pseudo-gradients ``m`` and ``T`` terms an example. Both follow from replacing the mean over
terms of a Kronecker product by the product of the means: ``expand`` of the ``W T`` terms, without those between two
terms of one example; ``reduce`` of the examples, whose gradient ``sum_t a_t b_t^T`` is taken as ``a_n b_n^T``.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgrad._types import Array, Tree
from jaxgrad._uses import _layout
from jaxgrad._uses._algebra import cut_rows, flat_rows
from jaxgrad._uses._factors import Factor, Factors, OneHot, wide
from jaxgrad._uses._layout import Atoms
from jaxgrad._uses._plan import LeafPlan

__all__ = ["LeafForm", "Pair", "form_of", "sides_of", "sums_of", "together"]

BLOCK = 512
"""Up to how many entries a leaf without factors has its whole block: 1 MiB of float32, as much as a factor of a layer
of that width."""

SIDE = 8192
"""Up to how many entries a side of a leaf has its whole second moment, 256 MiB of float32; a wider one, such as the
words of a vocabulary, its diagonal."""


class Pair(NamedTuple):
    """The second moments of the two sides of a leaf, ``(groups, d, d)``; or their diagonals, ``(groups, d)``."""

    rows: Array
    columns: Array


class LeafForm(NamedTuple):
    """How the curvature of one leaf is held; known when it is traced."""

    path: str
    shape: tuple[int, ...]
    dtype: Any
    form: str
    """``kronecker``, ``block`` or ``diagonal``."""
    why: str
    parts: tuple[Atoms, ...] = ()
    """The entries of the leaf that its groups, rows and columns run over."""
    swapped: tuple[bool, ...] = ()
    """For every way that the leaf is used: whether its columns are what enters."""
    terms: int | None = 1
    """How many terms an example has: its outer products, or one for every way where they are reduced; ``None`` where
    batches differ in it."""
    whole: tuple[bool, bool] = (True, True)
    """Whether the rows and the columns have a whole second moment, or its diagonal."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers of groups, rows and columns."""
        return tuple(map(_layout.size, self.parts))


def form_of(path: str, leaf: LeafPlan, entry: Any, approximation: str) -> LeafForm:
    """Choose how the curvature of one leaf is held, from its plan and the shapes of its factors."""
    size = math.prod(leaf.shape)
    if size == 0:
        return LeafForm(path, leaf.shape, leaf.dtype, "diagonal", "it has no entries")
    if leaf.split is None:
        form = "block" if size <= BLOCK and entry is not None else "diagonal"
        why = f"{leaf.why}; {size:,} entries {'<=' if size <= BLOCK else '>'} {BLOCK}"
        return LeafForm(path, leaf.shape, leaf.dtype, form, why if entry is not None else leaf.why)
    ways = tuple(sorted({use.swapped for use in leaf.uses}))
    counts = [_terms(use) for use in entry]
    terms = sum(counts) if approximation == "expand" else len(ways)
    factors, widths = zip(*entry, strict=True), map(_layout.size, tuple(leaf.split)[1:])
    rows, columns = (_is_whole(side, approximation, n) for side, n in zip(factors, widths, strict=True))
    why = _why(leaf, sum(counts), len(ways) == 2, rows, columns)
    parts, whole = tuple(leaf.split), (rows, columns)
    return LeafForm(path, leaf.shape, leaf.dtype, "kronecker", why, parts, ways, terms, whole)


def _why(leaf: LeafPlan, terms: int, both_ways: bool, rows: bool, columns: bool) -> str:
    """Return what is said of a leaf with factors."""
    uses = f"{len(leaf.uses)} use{'s' * (len(leaf.uses) != 1)}, {terms} term{'s' * (terms != 1)} an example"
    both = "; used both ways round, the sides on one scale" * both_ways
    sides = [name for name, whole in (("rows", rows), ("columns", columns)) if not whole]
    return uses + both + "".join(f"; the {name} by their diagonal" for name in sides)


def _terms(use: Factors) -> int:
    """Return how many outer products a use adds to every group."""
    return next(x.shape[-2] for x in use if not isinstance(x, OneHot))


def _is_whole(factors: Sequence[Factor], approximation: str, width: int) -> bool:
    """Say whether one side of a leaf has its whole second moment."""
    if approximation == "expand" and all(isinstance(x, OneHot) for x in factors):
        return False  # rows with a single one: there is nothing beside the diagonal
    return width <= SIDE


def sums_of(form: LeafForm, leaf: LeafPlan, entry: Any, weights: Array, approximation: str) -> Any:
    """Return the weighted sums over the examples of one chunk: a `Pair` for every way of use, a block or a diagonal."""
    if entry is None or math.prod(form.shape) == 0:
        return jnp.zeros(form.shape, weights.dtype)
    if form.form != "kronecker":
        return _sum_of_squares(form, entry, weights)
    return tuple(_pair(form, leaf, entry, weights, way, approximation) for way in form.swapped)


def sides_of(forms: Sequence[LeafForm], sums: Sequence[Any]) -> tuple[Tree, Tree]:
    """Return the moments of what enters, which all pseudo-gradients of an example share, and sums over these."""
    entering: list[Any] = []
    leaving: list[Any] = []
    for form, of_leaf in zip(forms, sums, strict=True):
        # a block or a diagonal is used no way: all of it is a sum over pseudo-gradients
        pairs = list(zip(of_leaf, map(int, form.swapped), strict=True)) if form.form == "kronecker" else []
        entering.append([pair[way] for pair, way in pairs])
        leaving.append([pair[1 - way] for pair, way in pairs] if pairs else of_leaf)
    return entering, leaving


def together(forms: Sequence[LeafForm], entering: Any, leaving: Any) -> tuple[Any, ...]:
    """Return the sums of all leaves from those of the two sides."""

    def pair(enters: Array, leaves: Array, way: bool) -> Pair:
        return Pair(leaves, enters) if way else Pair(enters, leaves)

    rows = zip(forms, entering, leaving, strict=True)
    return tuple(tuple(map(pair, into, out, f.swapped)) if f.form == "kronecker" else out for f, into, out in rows)


def _sum_of_squares(form: LeafForm, gradients: Array, weights: Array) -> Array:
    """Return the sum of the outer products of formed gradients, or of their squares."""
    flat = flat_rows(merged(gradients))
    flat = flat.astype(wide(flat.dtype))
    every = jnp.repeat(weights, gradients.shape[1])
    if form.form == "diagonal":
        return jnp.sum(cut_rows(jnp.square(flat), every), axis=0).reshape(form.shape)
    return _gram(flat[:, None, None], every)[0]


def _pair(
    form: LeafForm, leaf: LeafPlan, entry: Sequence[Factors], weights: Array, way: bool, approximation: str
) -> Pair:
    """Return the second moments of both sides over the uses of one way."""
    uses = [use for use, of in zip(entry, leaf.uses, strict=True) if of.swapped is way]
    sides: list[Any] = []
    for side, whole, width in zip((0, 1), form.whole, form.sizes[1:], strict=True):
        enters = side == int(way)
        factors = [use[side] if enters else merged(use[side]) for use in uses]
        every = weights if enters else jnp.repeat(weights, _columns(uses[0], way))
        if approximation == "reduce":
            factors = [_reduced(factors, width, mean=enters)]
        sides.append(sum(_moment(x, every, width, whole=whole) for x in factors))
    return Pair(*sides)


def _columns(use: Factors, way: bool) -> int:
    """Return the number of pseudo-gradients of an example."""
    return use[1 - int(way)].shape[1]  # type: ignore[union-attr]


def merged(x: Any) -> Array:
    """Take every pseudo-gradient of every example as one along the leading axis."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def _reduced(factors: Sequence[Factor], width: int, *, mean: bool) -> Array:
    """Return the sum over all terms, or their mean, as one term."""
    total = sum(jnp.sum(dense(x, width), axis=2, keepdims=True) for x in factors)
    count = sum(x.ids.shape[-1] if isinstance(x, OneHot) else x.shape[-2] for x in factors)
    return total / count if mean else total  # type: ignore[return-value]


def dense(x: Factor, width: int) -> Array:
    """Return a factor with its entries, in the dtype of sums."""
    if isinstance(x, OneHot):
        return jax.nn.one_hot(x.ids, width)
    return x.astype(wide(x.dtype))


def _moment(x: Factor, weights: Array, width: int, *, whole: bool) -> Array:
    """Return the weighted sum of the outer products of a side's terms, or of their squares."""
    if isinstance(x, OneHot) and not whole:
        batch, groups, terms = x.ids.shape
        at = jnp.broadcast_to(jnp.arange(groups)[None, :, None], x.ids.shape)
        counts = jnp.broadcast_to(weights[:, None, None], (batch, groups, terms))
        return jnp.zeros((groups, width), weights.dtype).at[at, x.ids].add(counts)
    entries = dense(x, width).astype(wide(weights.dtype))
    if whole:
        return _gram(entries, weights)
    return jnp.sum(cut_rows(jnp.square(entries), weights), axis=(0, 2))


def _gram(x: Array, weights: Array) -> Array:
    """Return the weighted sums of the outer products of ``(batch, groups, terms, d)``: ``(groups, d, d)``."""
    # both are blanked where the weight is zero: zero times NaN would be NaN
    left, right = cut_rows(x, weights), cut_rows(x, weights, scaled=False)
    batch, groups, terms, width = x.shape
    if groups == 1:
        flat = [side.reshape(batch * terms, width) for side in (left, right)]
        return jnp.einsum("td,te->de", *flat, precision="highest")[None]
    return jnp.einsum("bgtd,bgte->gde", left, right, precision="highest")
