"""The site rules: how the gradient of a leaf at one linear use is a sum of outer products.

At a site with known operand ``A`` and cotangent ``V`` of the output, the gradient is ``sum_t left[g, t] right[g, t]^T``
for every group ``g`` (heads, experts, channel groups, layers of a stack), where ``left`` is made of ``A`` and ``right``
of ``V``. A lookup has one-hot rows for ``left``; they are kept as indices, in a `OneHot`.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad._jaxpr import JaxprEqn
from jaxgrad._types import Array
from jaxgrad._uses import _layout
from jaxgrad._uses._factors import Factor, OneHot, real_pair
from jaxgrad._uses._layout import Atoms
from jaxgrad._uses._program import shape_of
from jaxgrad._uses._views import Piece, Site, View

__all__ = ["Split", "dot_axes", "has_rule", "kernel_atoms", "matrix_of", "outer_factors", "split_of", "windows"]


class Split(NamedTuple):
    """Which entries of a leaf the groups, the left and the right factors of a site run over."""

    groups: Atoms
    left: Atoms
    right: Atoms


def has_rule(eqn: JaxprEqn, position: int, view: View) -> bool:
    """Say whether the use of a view as one operand, the only one that moves, has a rule."""
    params, single = eqn.params, len(view.pieces) == 1
    if eqn.primitive.name == "dot_general":
        return single or view.axis not in params["dimension_numbers"][1][position]
    if eqn.primitive.name == "conv_general_dilated":
        return (
            single
            and position == 1
            and params["batch_group_count"] == 1
            and kernel_atoms(eqn, view.pieces[0]) is not None
        )
    return eqn.primitive.name == "gather" and single and position == 0 and _is_lookup(eqn)


def split_of(site: Site, piece: Piece) -> Split:
    """Say which entries of the leaf the factors of a site run over."""
    loops: Atoms = tuple(atom for atoms in piece.loops if atoms is not None for atom in atoms)
    if site.eqn.primitive.name == "dot_general":
        batch, contracted, free = dot_axes(site)[site.position]
        groups, left, right = (_joined(piece, axes) for axes in (batch, contracted, free))
    elif site.eqn.primitive.name == "conv_general_dilated":
        kernel = kernel_atoms(site.eqn, piece)
        assert kernel is not None, "checked by has_rule"
        groups, right, *window = kernel
        left = tuple(itertools.chain.from_iterable(window))
    else:
        groups, (axis,) = (), site.eqn.params["dimension_numbers"].start_index_map
        left, right = piece.layout[axis], _joined(piece, [i for i in range(len(piece.layout)) if i != axis])
    return Split(loops + groups, left, right)


def outer_factors(site: Site, index: int, operand: Array, cotangent: Array) -> tuple[Factor, Array]:
    """Return ``left`` and ``right`` of one leaf at a site for one example, real, in the order of the leaf.

    Args:
        site: The use.
        index: Which piece of its view.
        operand: The known operand, with an axis in front for every scan around.
        cotangent: The cotangent of the output, likewise.

    Returns:
        Two factors of shape ``(groups, rows, entries)``; the indices of a `OneHot` have the shape ``(groups, rows)``.
    """
    rule = {"dot_general": _dot, "conv_general_dilated": _conv, "gather": _gather}[site.eqn.primitive.name]

    def one(operand: Array, cotangent: Array) -> Any:
        return rule(site, index, operand, cotangent)

    for _ in site.lengths:
        one = jax.vmap(one)
    piece = site.view.pieces[index]
    groups, left_atoms, right_atoms = split_of(site, piece)
    left, right = jax.tree.map(lambda x: _layout.canonical(_fold_loops(x, piece), 0, groups), one(operand, cotangent))
    left = left if isinstance(left, OneHot) else _layout.canonical(left, 2, left_atoms)
    return real_pair(left, _layout.canonical(right, 2, right_atoms))


def _fold_loops(array: Array, piece: Piece) -> Array:
    """Fold the axes of scans in front of ``(groups, rows, ...)``: stacked ones into groups, shared ones into rows."""
    count = len(piece.loops)
    stacked = [i for i, atoms in enumerate(piece.loops) if atoms is not None]
    shared = [i for i, atoms in enumerate(piece.loops) if atoms is None]
    array = jnp.transpose(array, [*stacked, count, *shared, *range(count + 1, array.ndim)])
    split = len(stacked) + 1
    groups, rows = math.prod(array.shape[:split]), math.prod(array.shape[split : count + 2])
    return jnp.reshape(array, (groups, rows, *array.shape[count + 2 :]))


def _joined(piece: Piece, axes: Sequence[int]) -> Atoms:
    """Return the atoms of several axes of a view, taken together."""
    return tuple(atom for axis in axes for atom in piece.layout[axis])


def dot_axes(site: Site) -> list[tuple[list[int], list[int], list[int]]]:
    """Return the batch, contracted and free axes of both operands of a dot_general."""
    contracted, batch = site.eqn.params["dimension_numbers"]
    ranks = [len(shape_of(atom).shape) for atom in site.eqn.invars]
    return [
        (list(b), list(c), [i for i in range(rank) if i not in b and i not in c])
        for b, c, rank in zip(batch, contracted, ranks, strict=True)
    ]


def _dot(site: Site, index: int, operand: Array, cotangent: Array) -> tuple[Array, Array]:
    """Activations over their contracted axes times cotangents over the free axes of the weight."""
    axes = dot_axes(site)
    (batch, contracted, free), (_, view_contracted, view_free) = axes[1 - site.position], axes[site.position]
    rows, entries = list(range(len(batch), len(batch) + len(free))), list(range(len(batch) + len(free), cotangent.ndim))
    if site.position == 0:
        entries = list(range(len(batch), len(batch) + len(view_free)))
        rows = list(range(len(batch) + len(view_free), cotangent.ndim))
    start, length = _window(site.view, index)
    if site.view.axis in view_contracted:
        operand = lax.slice_in_dim(
            operand, start, start + length, axis=contracted[view_contracted.index(site.view.axis)]
        )
    elif len(site.view.pieces) > 1:
        axis = entries[view_free.index(site.view.axis)]
        cotangent = lax.slice_in_dim(cotangent, start, start + length, axis=axis)
    left = matrix_of(operand, batch, free, contracted)
    return left, matrix_of(cotangent, list(range(len(batch))), rows, entries)


def _window(view: View, index: int) -> tuple[int, int]:
    """Return where a piece starts along the axis of its view, and its length."""
    lengths = [_layout.size(piece.layout[view.axis]) for piece in view.pieces]
    return sum(lengths[:index]), lengths[index]


def matrix_of(array: Array, groups: Sequence[int], rows: Sequence[int], entries: Sequence[int]) -> Array:
    """Bring an array into the shape ``(groups, rows, entries)``."""
    shape = [math.prod(array.shape[i] for i in axes) for axes in (groups, rows, entries)]
    return jnp.reshape(jnp.transpose(array, [*groups, *rows, *entries]), shape)


def kernel_atoms(eqn: JaxprEqn, piece: Piece) -> list[Atoms] | None:
    """Return the atoms of a kernel by groups, channels out, window and channels in, or ``None`` if they mix."""
    out, into, *window = eqn.params["dimension_numbers"].rhs_spec
    groups, shape = eqn.params["feature_group_count"], shape_of(eqn.invars[1]).shape
    ordered = _layout.transpose(piece.layout, (out, *window, into))
    split = [groups, shape[out] // groups, *(shape[i] for i in window), shape[into]]
    layout = _layout.reshape(ordered, split)
    return None if layout is None else list(layout)


def _conv(site: Site, _: int, operand: Array, cotangent: Array) -> tuple[Array, Array]:
    """Patches of the input times cotangents of the output, position by position."""
    params = site.eqn.params
    numbers, groups = params["dimension_numbers"], params["feature_group_count"]
    kernel = [shape_of(site.eqn.invars[1]).shape[i] for i in numbers.rhs_spec[2:]]
    batch, feature, *space = numbers.out_spec
    out = jnp.transpose(cotangent, (batch, *space, feature))
    right = out.reshape(-1, groups, out.shape[-1] // groups).transpose(1, 0, 2)
    batch, feature, *space = numbers.lhs_spec
    patches = _patches(jnp.transpose(operand, (batch, *space, feature)), kernel, out.shape[1:-1], params)
    left = patches.reshape(right.shape[1], len(list(itertools.product(*map(range, kernel)))), groups, -1)
    return left.transpose(2, 0, 1, 3).reshape(groups, right.shape[1], -1), right


def _patches(x: Array, kernel: Sequence[int], out: Sequence[int], params: dict[str, Any]) -> Array:
    """Gather the window of every output position: ``(batch, *out, window, channels)``."""
    return jnp.stack(windows(x, kernel, out, params), axis=-2)


def windows(x: Array, kernel: Sequence[int], out: Sequence[int], params: dict[str, Any]) -> list[Array]:
    """Return what every place of a kernel meets at every output position, each ``(batch, *out, channels)``."""
    edges = [(lo, hi, d - 1) for (lo, hi), d in zip(params["padding"], params["lhs_dilation"], strict=True)]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
    strides, dilation = params["window_strides"], params["rhs_dilation"]
    slices = []
    for offset in itertools.product(*map(range, kernel)):
        start = [o * d for o, d in zip(offset, dilation, strict=True)]
        stop = [a + (n - 1) * s + 1 for a, n, s in zip(start, out, strides, strict=True)]
        slices.append(lax.slice(x, (0, *start, 0), (x.shape[0], *stop, x.shape[-1]), (1, *strides, 1)))
    return slices


def _is_lookup(eqn: JaxprEqn) -> bool:
    """Say whether a gather takes whole rows along one axis."""
    numbers, sizes, shape = eqn.params["dimension_numbers"], eqn.params["slice_sizes"], shape_of(eqn.invars[0]).shape
    axis = tuple(numbers.start_index_map)
    rows = len(axis) == 1 and tuple(numbers.collapsed_slice_dims) == axis and not numbers.operand_batching_dims
    return rows and all(n == (1 if i in axis else shape[i]) for i, n in enumerate(sizes))


def _gather(site: Site, _: int, operand: Array, cotangent: Array) -> tuple[OneHot, Array]:
    """Indices times cotangents; a row outside of the table gets what the transposed lookup gives it."""
    numbers, mode = site.eqn.params["dimension_numbers"], site.eqn.params["mode"]
    (axis,) = numbers.start_index_map
    # the last row that indices of this dtype can name: a table may have more of them
    last = min(shape_of(site.eqn.invars[0]).shape[axis] - 1, int(jnp.iinfo(operand.dtype).max))
    ids = operand.reshape(1, -1)
    places = [i for i in range(cotangent.ndim) if i not in numbers.offset_dims]
    right = (
        matrix_of(cotangent, [], places, numbers.offset_dims)[None] if cotangent.ndim else cotangent.reshape(1, 1, 1)
    )
    if mode != lax.GatherScatterMode.CLIP:
        inside = (ids >= 0) & (ids <= last)
        right = jnp.where(inside[..., None], right, jnp.zeros_like(right))
    within = jnp.clip(ids, 0, last).astype(jnp.int32)
    return OneHot(within), right.reshape(1, ids.shape[1], -1)
