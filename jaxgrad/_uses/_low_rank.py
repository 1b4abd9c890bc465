"""A shift of a leaf by an outer product on every matrix in it, and the leaf while it is moved and not yet used."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu

from jaxgrad._types import Array
from jaxgrad._uses import _layout
from jaxgrad._uses._factors import wide
from jaxgrad._uses._plan import joined
from jaxgrad._uses._rules import Split
from jaxgrad._uses._views import Piece

__all__ = ["LowRank", "Moved", "is_low_rank"]


@functools.partial(jtu.register_dataclass, data_fields=["left", "right"], meta_fields=["split", "shape"])
@dataclass(frozen=True, eq=False)
class LowRank:
    """The shift of one leaf: ``left @ right.T`` on every matrix in it; made by `low_rank_shifts`."""

    left: Array
    """Of shape ``(..., groups, rows, rank)``; the axes in front are those of several shifts. It holds the scale too."""
    right: Array
    """Of shape ``(..., groups, columns, rank)``."""
    split: Split
    """Which entries of the leaf are its groups, rows and columns."""
    shape: tuple[int, ...]
    """The shape of the leaf."""

    def dense(self) -> Array:
        """Return the shift in the shape of the leaf, behind the axes of several shifts; summed in float32 or wider."""
        spec = "...gir,...gjr->...gij"
        kept = wide(self.left.dtype)
        matrix = jnp.einsum(spec, self.left, self.right, precision="highest", preferred_element_type=kept)
        front = matrix.shape[:-3]
        flat = matrix.astype(self.left.dtype).reshape(-1, *matrix.shape[-3:])
        return jax.vmap(lambda one: _layout.restore(one, self.split, self.shape))(flat).reshape(*front, *self.shape)

    @property
    def rank(self) -> int:
        """How many outer products there are on each matrix."""
        return self.left.shape[-1]


def is_low_rank(node: Any) -> bool:
    """Say whether a node of a tree of shifts is of low rank."""
    return isinstance(node, LowRank)


@functools.partial(jtu.register_dataclass, data_fields=["base", "left", "right"], meta_fields=["piece", "split"])
@dataclass(frozen=True, eq=False)
class Moved:
    """A view of a leaf with its shift beside it: the sum is formed where there is no other way."""

    base: Array
    left: Array | None
    """Of shape ``(groups, rows, rank)``; ``None`` where only the uses of the leaf are looked for."""
    right: Array | None
    piece: Piece
    split: Split | None

    def dense(self) -> Array:
        """Return the view of the moved leaf."""
        if self.left is None or self.right is None or self.split is None:
            return self.base
        kept = wide(self.base.dtype)
        factors = (self.left, self.right)
        matrix = jnp.einsum("gir,gjr->gij", *factors, precision="highest", preferred_element_type=kept)
        flat = _layout.restore(matrix, self.split, (-1,))
        atoms = tuple(atom for axis in self.piece.layout for atom in axis)
        shift = _layout.laid_out(flat, 0, atoms).reshape(self.base.shape)
        return (self.base.astype(kept) + shift.astype(kept)).astype(self.base.dtype)

    def viewed(self, base: Array, piece: Piece) -> "Moved":
        """Return another view of the same leaf, its factors in the dtype of the view."""
        left, right = (None if x is None else x.astype(base.dtype) for x in (self.left, self.right))
        return Moved(base, left, right, piece, self.split)

    def stacked(self) -> "Moved | None":
        """Return what a scan slices into its iterations, or ``None`` where the slices of the shift are of higher rank.

        Every array has the axis of the iterations in front, and what is said of them is said of a slice.
        """
        front, *rest = self.piece.layout
        if self.left is None or self.right is None or self.split is None:
            return Moved(self.base, None, None, Piece(self.piece.leaf, tuple(rest), (*self.piece.loops, front)), None)
        groups = _layout.without(self.split.groups, front)
        if groups is None:
            return None
        left, right = (
            _layout.laid_out(x, 0, (*front, *_descending(groups))).reshape(self.base.shape[0], -1, *x.shape[1:])
            for x in (self.left, self.right)
        )
        split = joined(self.split._replace(groups=groups))
        return Moved(self.base, left, right, self.piece._replace(layout=tuple(rest)), split)

    def factors_for(self, split: Split) -> tuple[Array, Array] | None:
        """Return the factors as a use has its groups, rows and columns, or ``None`` where it splits them otherwise."""
        if self.left is None or self.right is None or self.split is None:
            return None
        wanted = joined(split)
        pair = (self.left, self.right) if wanted == self.split else (self.right, self.left)
        if self.split not in (wanted, wanted._replace(left=wanted.right, right=wanted.left)):
            return None
        atoms = zip(pair, (split.left, split.right), strict=True)
        left, right = (_layout.laid_out(_layout.laid_out(x, 0, split.groups), 1, own) for x, own in atoms)
        return left, right


def _descending(atoms: _layout.Atoms) -> _layout.Atoms:
    """Return atoms in the order of the leaf."""
    return tuple(sorted(atoms, reverse=True))
