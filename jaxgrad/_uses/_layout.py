"""Which entries of a parameter leaf lie along which axis of a view of it.

A leaf that a program transposes, reshapes or slices into the iterations of a scan keeps all its entries; a layout says
where they went, without an array of indices: every axis of the view is a list of atoms, and an atom ``(stride, size)``
is ``size`` entries of the flat leaf that lie ``stride`` apart.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp

from jaxgrad._types import Array

__all__ = [
    "Atom",
    "Atoms",
    "Layout",
    "canonical",
    "coalesce",
    "laid_out",
    "layout_of",
    "matrices",
    "reshape",
    "restore",
    "size",
    "transpose",
    "without",
]


class Atom(NamedTuple):
    """``size`` entries of the flat leaf, ``stride`` apart."""

    stride: int
    size: int


Atoms = tuple[Atom, ...]
"""The entries along one axis, or along several that are taken together, the slowest atom first."""

Layout = tuple[Atoms, ...]
"""One `Atoms` for every axis of a view; an axis of length 1 has no atoms."""


def layout_of(shape: Sequence[int]) -> Layout:
    """Return the layout of the leaf itself."""
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    return tuple((Atom(s, n),) if n > 1 else () for s, n in zip(strides, shape, strict=True))


def size(atoms: Atoms) -> int:
    """Return the number of entries."""
    return math.prod(atom.size for atom in atoms)


def transpose(layout: Layout, permutation: Sequence[int]) -> Layout:
    """Return the layout after the axes were permuted."""
    return tuple(layout[i] for i in permutation)


def reshape(layout: Layout, shape: Sequence[int]) -> Layout | None:
    """Return the layout after a reshape, or ``None`` where an atom would be cut unevenly."""
    atoms = list(itertools.chain.from_iterable(layout))
    out: list[Atoms] = []
    for length in shape:
        axis: list[Atom] = []
        missing = length
        while missing > 1:
            stride, n = atoms.pop(0)
            if missing % n == 0:
                axis.append(Atom(stride, n))
                missing //= n
            elif n % missing == 0:
                axis.append(Atom(stride * (n // missing), missing))
                atoms.insert(0, Atom(stride, n // missing))
                missing = 1
            else:
                return None
        out.append(tuple(axis))
    return tuple(out)


def coalesce(atoms: Atoms) -> Atoms:
    """Return the atoms in the order of the leaf, neighbours joined: equal for equal sets of entries."""
    joined: list[Atom] = []
    for atom in sorted(atoms, reverse=True):
        if joined and joined[-1].stride == atom.stride * atom.size:
            joined[-1] = Atom(atom.stride, joined[-1].size * atom.size)
        else:
            joined.append(atom)
    return tuple(joined)


def canonical(array: Array, axis: int, atoms: Atoms) -> Array:
    """Reorder the entries along one axis, laid out as ``atoms``, into the order of the leaf."""
    order = sorted(range(len(atoms)), key=lambda i: atoms[i], reverse=True)
    if order == list(range(len(atoms))):
        return array
    split = (*array.shape[:axis], *(a.size for a in atoms), *array.shape[axis + 1 :])
    axes = [*range(axis), *(axis + i for i in order), *range(axis + len(atoms), len(split))]
    return jnp.transpose(jnp.reshape(array, split), axes).reshape(array.shape)


def laid_out(array: Array, axis: int, atoms: Atoms) -> Array:
    """Reorder the entries along one axis, in the order of the leaf, as ``atoms`` lays them out: undoes `canonical`."""
    order = sorted(range(len(atoms)), key=lambda i: atoms[i], reverse=True)
    if order == list(range(len(atoms))):
        return array
    split = (*array.shape[:axis], *(atoms[i].size for i in order), *array.shape[axis + 1 :])
    axes = [*range(axis), *(axis + order.index(i) for i in range(len(atoms))), *range(axis + len(atoms), len(split))]
    return jnp.transpose(jnp.reshape(array, split), axes).reshape(array.shape)


def without(atoms: Atoms, taken: Atoms) -> Atoms | None:
    """Return the atoms that are left when some of the entries are fixed, or ``None`` where those are not among them."""
    left = list(atoms)
    for stride, n in taken:
        around = [a for a in left if a.stride <= stride and stride * n <= a.stride * a.size]
        if not around or stride % around[0].stride or (around[0].stride * around[0].size) % (stride * n):
            return None
        (start, length), place = around[0], left.index(around[0])
        rest = [Atom(stride * n, start * length // (stride * n)), Atom(start, stride // start)]
        left[place : place + 1] = [atom for atom in rest if atom.size > 1]
    return tuple(left)


def restore(array: Array, parts: Sequence[Atoms], shape: Sequence[int]) -> Array:
    """Give an array whose axes are canonical ``parts`` of a leaf the leaf's shape."""
    atoms = [atom for part in parts for atom in coalesce(part)]
    order = sorted(range(len(atoms)), key=lambda i: atoms[i], reverse=True)
    return jnp.transpose(jnp.reshape(array, [a.size for a in atoms]), order).reshape(tuple(shape))


def matrices(array: Array, parts: Sequence[Atoms]) -> Array:
    """Give a leaf's array one axis for each of its canonical ``parts``: the inverse of `restore`."""
    joined = [coalesce(part) for part in parts]
    atoms = [atom for part in joined for atom in part]
    order = sorted(range(len(atoms)), key=lambda i: atoms[i], reverse=True)
    split = jnp.reshape(array, [atoms[i].size for i in order])
    return jnp.transpose(split, [order.index(i) for i in range(len(atoms))]).reshape([size(part) for part in joined])
