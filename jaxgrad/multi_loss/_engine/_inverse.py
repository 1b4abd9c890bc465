"""Inverses of small symmetric matrices, in operations that every transformation of JAX and every device takes."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _sharding
from jaxgrad._types import Array
from jaxgrad.multi_loss._engine._gram import rounding, usable

__all__ = ["inverse", "inverse_within", "pseudo_inverse", "refined"]


@jax.custom_jvp
def inverse(matrix: Array) -> Array:
    """Invert a positive semi-definite matrix on as many of its rows as are independent, zeros elsewhere.

    Gauss and Jordan's elimination in place (the sweep of Goodnight, 1979), in the order of the rows. A row whose pivot
    is rounding, in units of its diagonal entry, lies in the span of those before it, and is left out.
    """
    least, rows = rounding(matrix) * jnp.diagonal(matrix), jnp.arange(len(matrix))

    def sweep(k: Any, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        table, kept = carry
        own, column, pivot = rows == k, table[:, k], table[k, k]
        is_usable = pivot > least[k]
        # the row and the column of the pivot are divided by it, and the pivot itself becomes its negative reciprocal
        row = jnp.where(own, -jnp.ones_like(column), column) / jnp.where(is_usable, pivot, jnp.ones_like(pivot))
        swept = jnp.where(own[:, None], row[None], table - column[:, None] * row[None])
        swept = jnp.where(own[None], row[:, None], swept)
        return jnp.where(is_usable, swept, table), kept | (own & is_usable)

    start = (matrix, jnp.zeros(len(matrix), bool))
    start = _sharding.settled(lambda carry: sweep(0, carry), start)
    table, kept = lax.fori_loop(0, len(matrix), sweep, start)
    return jnp.where(kept[:, None] & kept[None], -table, jnp.zeros_like(table))


@inverse.defjvp
def _slope_of_inverse(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """``d(A^-1) = -A^-1 dA A^-1``; written with the function itself, so that it has derivatives of any order."""
    found = inverse(*primals)
    return found, -found @ tangents[0] @ found


def inverse_within(matrix: Array, inside: Array) -> Array:
    """Invert the block of a matrix that lies in some rows and columns; zeros elsewhere."""
    both = inside[:, None] & inside[None]
    block = jnp.where(both, matrix, jnp.eye(len(matrix), dtype=matrix.dtype))
    return jnp.where(both, inverse(block), jnp.zeros_like(block))


def refined(matrix: Array, inverted: Array, rhs: Array) -> Array:
    """Solve by an inverse of a block, with a step of refinement."""
    solved = inverted @ rhs
    return solved + inverted @ (rhs - matrix @ solved)


@jax.custom_jvp
def pseudo_inverse(matrix: Array) -> Array:
    """Return the pseudo-inverse of Moore and Penrose of a positive semi-definite matrix."""
    values, vectors = jnp.linalg.eigh(matrix)
    kept = usable(values)
    inverted = jnp.where(kept, 1 / jnp.where(kept, values, jnp.ones_like(values)), jnp.zeros_like(values))
    return (vectors * inverted[None]) @ vectors.T


@pseudo_inverse.defjvp
def _slope_of_pseudo_inverse(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """Golub and Pereyra (1973), for a rank that stays: finite where eigenvalues are equal, or zero."""
    (matrix,), (moved,) = primals, tangents
    found = pseudo_inverse(matrix)
    outside = jnp.eye(len(matrix), dtype=matrix.dtype) - found @ matrix
    across = outside @ moved @ found @ found
    return found, across + across.T - found @ moved @ found
