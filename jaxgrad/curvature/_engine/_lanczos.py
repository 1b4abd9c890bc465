"""The Lanczos recurrence on trees, with full reorthogonalisation."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _sharding, _tree
from jaxgrad._types import Array, Tree
from jaxgrad.curvature._engine import _stacks
from jaxgrad.curvature._engine._symmetric import Times

__all__ = ["Krylov", "lanczos", "tridiagonal"]

ROUNDING = 10.0
"""A remainder of so many roundings of the largest number seen is none: the space that was built is invariant."""

FALLS = 0.7
"""Where a projection leaves less of a length than the root of one half, it is done again (Daniel et al. 1976)."""
TURNS = 3
"""Twice is enough (Kahan and Parlett), and once more for a direction that replaces one of an invariant space."""


class Krylov(NamedTuple):
    """An orthonormal basis of a Krylov space, and the matrix in it, which is tridiagonal."""

    basis: Tree
    """A stack of ``m`` trees."""
    diagonal: Array
    """Of shape ``(m,)``."""
    beside: Array
    """Of shape ``(m,)``: what stands beside the diagonal; the last is the norm of what leads out of the space."""


class _Carry(NamedTuple):
    basis: Tree
    vector: Tree
    previous: Tree
    beta: Array
    largest: Array


def lanczos(apply: Times, start: Tree, num_steps: int) -> Krylov:
    """Build a Krylov space by ``num_steps`` products.

    Where the space is invariant it is continued by another direction, and the matrix falls into blocks there: no
    division by zero, and a multiple eigenvalue is found as often as it is there.

    matfree and lineax have this for flat vectors. Joined, the leaves would lose their layout over devices, and matfree
    divides by the remainder where it is zero.

    Args:
        apply: The product.
        start: The first direction, of any length; one of zeros gives way to another.
        num_steps: At most the number of parameters.
    """
    kept = _tree.accumulator(*(leaf.dtype for leaf in jax.tree.leaves(start)))
    zero = jnp.zeros((), kept)
    length = _tree.norm(start)
    start = lax.cond(length == 0, lambda start: _stacks.generic(num_steps, start), lambda start: start, start)
    first = _over(start, _tree.norm(start))
    carry = _Carry(_stacks.blank(first, num_steps), first, jax.tree.map(jnp.zeros_like, first), zero, zero)

    def step(carry: _Carry, j: Array) -> tuple[_Carry, tuple[Array, Array]]:
        # written before anything is read, so that XLA writes in place and copies no basis
        basis = _stacks.put(carry.basis, j, carry.vector)
        w = apply(carry.vector)
        alpha = _tree.dot(carry.vector, w)
        # the two components that are not zero but for rounding
        w = _stacks.axpy(-carry.beta, carry.previous, _stacks.axpy(-alpha, carry.vector, w))
        length = _tree.norm(w)
        largest = jnp.maximum(carry.largest, jnp.abs(alpha) + carry.beta)
        ends = length <= ROUNDING * float(jnp.finfo(kept).eps) * largest
        w = lax.cond(ends, lambda w: _stacks.generic(j, w), lambda w: w, w)
        w, left = _without(basis, w, jnp.where(ends, jnp.full_like(length, jnp.inf), length))
        following = _over(w, left)
        beta = jnp.where(ends, zero, left)
        return _Carry(basis, following, carry.vector, beta, largest), (alpha, beta)

    carry = _sharding.settled(lambda carry, j: step(carry, j)[0], carry, jnp.zeros((), int))
    carry, (diagonal, beside) = lax.scan(step, carry, jnp.arange(num_steps))
    return Krylov(carry.basis, diagonal, beside)


def _without(basis: Tree, w: Tree, length: Array) -> tuple[Tree, Array]:
    """Take all directions of a basis out of a vector of a length, and return it with the length that is left.

    Rows that are not written yet are zeros, and take nothing away. Once is enough where little is taken, which is so
    after the recurrence; where the length falls, rounding is in what is left, and they are taken out again.
    """

    def again(state: tuple[Tree, Array, Array, Array]) -> tuple[Tree, Array, Array, Array]:
        w, _, left, turn = state
        w = jax.tree.map(jnp.subtract, w, _stacks.combine(_stacks.inner(basis, w), basis))
        return w, left, _tree.norm(w), turn + 1

    def falls(state: tuple[Tree, Array, Array, Array]) -> Array:
        _, before, left, turn = state
        return (turn == 0) | ((left < FALLS * before) & (turn < TURNS))

    state = w, length, length, jnp.zeros((), int)
    w, _, left, _ = lax.while_loop(falls, again, _sharding.settled(again, state))
    return w, left


def _over(tree: Tree, length: Array) -> Tree:
    """Divide a tree by its length; one of zeros stays: where every direction is taken, none is left."""
    return _stacks.scaled(tree, jnp.where(length == 0, jnp.zeros_like(length), 1 / jnp.where(length == 0, 1, length)))


def tridiagonal(space: Krylov) -> Array:
    """Return the matrix in the basis, of shape ``(m, m)``."""
    beside: Any = space.beside[:-1]
    return jnp.diag(space.diagonal) + jnp.diag(beside, 1) + jnp.diag(beside, -1)
