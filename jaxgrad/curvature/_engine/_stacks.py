"""Trees as vectors, and stacks of trees as matrices, whose leaves are never joined into one array.

A stack is a tree whose leaves have one more axis in front. Joined into one vector, leaves that are laid out over
devices would have to be moved, and what belongs to a leaf could not be told any more; here a contraction goes leaf by
leaf, and only its small result is summed.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _sharding, _tree
from jaxgrad._types import Array, Key, Tree

__all__ = [
    "axpy",
    "blank",
    "combine",
    "generic",
    "gram",
    "inner",
    "normal",
    "orthonormal",
    "put",
    "scaled",
    "signs",
    "size",
    "still",
    "with_dtypes",
]


def size(tree: Tree) -> int:
    """Return how many numbers a tree holds."""
    return sum(math.prod(jnp.shape(leaf)) for leaf in jax.tree.leaves(tree))


def with_dtypes(tree: Tree, like: Tree) -> Tree:
    """Cast the leaves of a tree to the dtypes of another; the tree may be a stack."""
    return jax.tree.map(lambda leaf, other: leaf.astype(jnp.result_type(other)), tree, like)


def scaled(tree: Tree, factor: Any) -> Tree:
    """Multiply a tree by a number, in the dtype of each leaf."""
    return jax.tree.map(lambda leaf: leaf * jnp.asarray(factor).astype(leaf.dtype), tree)


def still(count: int | None) -> Callable[[Any], Array]:
    """Return what fills the place of a leaf that is held, in its own dtype: zeros, in a stack of ``count`` trees.

    It is for the ``fill`` of `_tree.Subset.embed`.
    """
    rows = () if count is None else (count,)
    return lambda leaf: jnp.zeros(rows + jnp.shape(leaf), jnp.result_type(leaf))


def axpy(factor: Any, x: Tree, y: Tree) -> Tree:
    """Return ``factor * x + y``, in the dtype of each leaf of ``y``."""
    return jax.tree.map(lambda a, b: jnp.asarray(factor).astype(b.dtype) * a.astype(b.dtype) + b, x, y)


def blank(tree: Tree, count: int) -> Tree:
    """Return a stack of ``count`` trees of zeros, each laid out over devices as the given one."""

    def zeros(leaf: Array) -> Array:
        stack = jnp.zeros_like(jnp.broadcast_to(leaf, (count, *leaf.shape)))
        return _sharding.vary(stack, _sharding.varying(leaf))

    return jax.tree.map(zeros, tree)


def put(stack: Tree, index: Any, tree: Tree) -> Tree:
    """Write a tree into a stack; inside of a loop that is done in place."""
    return jax.tree.map(lambda rows, leaf: lax.dynamic_update_index_in_dim(rows, leaf, index, 0), stack, tree)


def inner(stack: Tree, tree: Tree) -> Array:
    """Return the inner product of every tree of a stack with one more, of shape ``(count,)``."""

    def of_leaf(rows: Array, leaf: Array) -> Array:
        kept = _tree.accumulator(rows.dtype, leaf.dtype)
        if any(part is not None for part in _sharding.spec_of(leaf)):
            # along axes that are Explicit a contraction would have to be told how its result lies; a sum knows
            return jnp.sum(rows.astype(kept) * leaf.astype(kept)[None], axis=tuple(range(1, rows.ndim)))
        axes = tuple(range(1, rows.ndim)), tuple(range(leaf.ndim))
        return lax.dot_general(rows, leaf, (axes, ((), ())), precision="highest", preferred_element_type=kept)

    products = [of_leaf(a, b) for a, b in zip(jax.tree.leaves(stack), jax.tree.leaves(tree), strict=True)]
    kept = _tree.accumulator(*(p.dtype for p in products))
    return functools.reduce(jnp.add, [p.astype(kept) for p in products])


def combine(coefficients: Array, stack: Tree) -> Tree:
    """Return the sum of the trees of a stack, each times its number; a matrix of numbers gives a stack, row by row."""
    return jax.tree.map(
        lambda rows: jnp.tensordot(coefficients.astype(rows.dtype), rows, axes=1, precision="highest"), stack
    )


def generic(seed: Any, like: Tree) -> Tree:
    """Return a tree of numbers between -1 and 1 without a pattern, the same for a seed: a direction like any other.

    The integers are mixed as in Wellons' hash; `jax.random` would do, and takes longer to compile than a product.
    """

    def of_leaf(index: int, leaf: Array) -> Array:
        x = lax.iota(jnp.uint32, leaf.size).reshape(leaf.shape)
        x = x + jnp.uint32(0x9E3779B9) * (
            jnp.uint32(index + 1) + jnp.uint32(0x85EBCA6B) * jnp.asarray(seed, jnp.uint32)
        )
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
            x = (x ^ (x >> jnp.uint32(shift))) * jnp.uint32(factor)
        x = x ^ (x >> jnp.uint32(16))
        return _sharding.like(x.astype(leaf.dtype) * 2.0**-31 - 1, leaf)

    leaves, treedef = jax.tree.flatten(like)
    return jax.tree.unflatten(treedef, [of_leaf(i, leaf) for i, leaf in enumerate(leaves)])


def normal(key: Key, like: Tree) -> Tree:
    """Draw a tree of standard normal numbers."""
    return _drawn(jax.random.normal, key, like)


def signs(key: Key, like: Tree) -> Tree:
    """Draw a tree of numbers that are -1 or 1, independent of each other."""
    return _drawn(jax.random.rademacher, key, like)


def _drawn(draw: Any, key: Key, like: Tree) -> Tree:
    """Draw a tree, each leaf with a key of its own, laid out over devices as another."""
    leaves, treedef = jax.tree.flatten(like)
    keys = jax.random.split(key, len(leaves))
    drawn = [_sharding.like(draw(k, x.shape, x.dtype), x) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(treedef, drawn)


def gram(stack: Tree, other: Tree) -> Array:
    """Return the inner products of the trees of two stacks, of shape ``(count, other count)``."""
    return jax.vmap(lambda tree: inner(stack, tree), out_axes=1)(other)


def orthonormal(stack: Tree) -> Tree:
    """Return a stack that spans the same space and is orthonormal; directions that it has not got are zeros.

    Twice by the eigenvectors of the Gram matrix, which takes two contractions and moves no leaf: a QR factorisation
    would need the leaves in one array. What is smaller than the root of the rounding cannot be told from nothing.
    """
    for _ in range(2):
        squares, vectors = jnp.linalg.eigh(gram(stack, stack))
        least = squares.size * float(jnp.finfo(squares.dtype).eps) * jnp.max(squares)
        there = squares > jnp.maximum(least, 0)
        scales = jnp.where(there, 1 / jnp.sqrt(jnp.where(there, squares, 1)), 0)
        stack = combine(vectors.T * scales[:, None], stack)
    return stack
