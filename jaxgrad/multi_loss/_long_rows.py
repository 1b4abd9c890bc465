"""The inner products of a few long rows on a CPU, in one pass over them."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _sharding
from jaxgrad._types import Array

__all__ = ["LONG", "MANY", "of_long_rows"]

MANY = 5
"""Up to how many rows are multiplied so: the sums of all pairs of 5 are 15, and there are 16 or 32 vector registers.
In one pass 6 rows were measured no faster than in pieces; 8 rows two by two took 0.9 times as long, and three times as
much to compile."""

LANES = 512
"""How many neighbouring entries are added up apart: the loop over them is the one that is vectorised. From 256 to 1024
no difference was measured."""

DEPTH = 8
"""How many products a lane adds up. XLA's loop over them must be unrolled whole or nothing is vectorised, and LLVM
unrolls some 300 instructions: 15 products of 5 rows are within, 21 of 6 rows are not. Fewer make the sums that are
written, an eighth of the products, more."""

LONG = 32 * LANES * DEPTH
"""From how many entries on: 131,072 were measured 1.3 to 1.7 times as fast as in pieces, half as many no faster under
JAX 0.12."""


@jax.custom_jvp
def of_long_rows(arrays: Sequence[Array]) -> Array:
    """Return the inner products of the rows of some matrices of one width.

    One reduction with a result for each pair reads every number once, multiplies it while it lies in a register, and is
    shared out over the cores. XLA's own product of matrices is slow where the inner dimension is all there is: a
    million entries of 2, 3 and 4 rows take 0.5, 0.8 and 1.4 ms on two cores, in place of 1.2, 1.8 and 2.3 ms piece by
    piece and 2.9, 3.1 and 4.1 ms whole.
    """
    length = arrays[0].shape[1]
    rest = length % (LANES * DEPTH)
    rows = [row[: length - rest].reshape(-1, DEPTH, LANES) for array in arrays for row in array]
    places = [(i, j) for i in range(len(rows)) for j in range(i, len(rows))]
    products = tuple(rows[i] * rows[j] for i, j in places)
    zero = _sharding.vary(jnp.zeros((), products[0].dtype), _sharding.varying(products))
    sums = dict(zip(places, lax.reduce(products, (zero,) * len(products), _added, (1,)), strict=True))
    every = [[jnp.sum(sums[min(i, j), max(i, j)]) for j in range(len(rows))] for i in range(len(rows))]
    matrix = jnp.stack([jnp.stack(line) for line in every])
    if not rest:
        return matrix
    last = jnp.concatenate([array[:, length - rest :] for array in arrays])
    return matrix + jnp.matmul(last, last.T, precision=lax.Precision.HIGHEST)


@of_long_rows.defjvp
def _of_long_rows_jvp(primals: tuple[Sequence[Array]], tangents: tuple[Sequence[Array]]) -> tuple[Array, Array]:
    """Multiply the tangents by the rows, which is linear in them; JAX's own rule would take the reduction apart."""
    rows, moved = jnp.concatenate(primals[0]), jnp.concatenate(tangents[0])
    half = jnp.matmul(moved, rows.T, precision=lax.Precision.HIGHEST)
    return of_long_rows(*primals), half + half.T


def _added(sums: tuple[Array, ...], more: tuple[Array, ...]) -> tuple[Array, ...]:
    """Add up each result of the reduction by itself."""
    return tuple(one + other for one, other in zip(sums, more, strict=True))
