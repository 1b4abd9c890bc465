"""The Gram matrix of the gradients of several losses, of which no more than a leaf's rows live at a time."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxgrad import _sharding, _tree
from jaxgrad._types import Array, Tree
from jaxgrad.multi_loss._rows import Block, Blocks

__all__ = ["inner_products", "of_rows"]


def inner_products(leaves: Sequence[Blocks], count: int) -> Array:
    """Add up over leaves the inner products of all pairs of ``count`` rows.

    The backwards and these sums are one program, in which XLA frees the rows of a leaf once its products are there.
    Nothing but sums stands between the two: a common scale of the rows, which would keep the squares of norms beyond
    1e19 in the range of float32, has to wait for all rows, and was measured to keep twice as much alive.
    """
    kept = _tree.accumulator(*(block.rows.dtype for mine in leaves for block in mine))
    parts: list[list[list[Array]]] = [[[] for _ in range(count)] for _ in range(count)]
    total = jnp.zeros((count, count), kept)
    for mine in leaves:
        if len(mine) == 1 and len(mine[0].rows) > 1:
            (block,) = mine
            total = total.at[_where(block)].add(_of_block(block.rows.astype(kept)))
        else:
            for (k, one), (j, other) in _pairs(mine):
                parts[k][j].append(jnp.sum(one.astype(kept) * other.astype(kept)))
    zero = jnp.zeros((), kept)
    return total + jnp.stack([
        jnp.stack([sum(parts[min(k, j)][max(k, j)], zero) for j in range(count)]) for k in range(count)
    ])  # fmt: skip


def of_rows(rows: Tree) -> Array:
    """Return the Gram matrix of rows that are there, a tree whose leaves share their leading axis."""
    leaves = jax.tree.leaves(rows)
    return inner_products([[Block(0, leaf)] for leaf in leaves], leaves[0].shape[0])


def _pairs(mine: Blocks) -> list[tuple[tuple[int, Array], tuple[int, Array]]]:
    """Return the pairs of rows of a leaf, each once, with the numbers of their losses."""
    rows = [(block.start + i, block.rows[i]) for block in mine for i in range(len(block.rows))]
    return [(one, other) for i, one in enumerate(rows) for other in rows[i:]]


def _of_block(rows: Array) -> Array:
    """Return the products of rows that lie in one array."""
    if any(_sharding.spec_of(rows)[1:]):
        # a leaf that lies in parts on several devices is not made one axis
        return jnp.stack([jnp.stack([jnp.sum(one * other) for other in rows]) for one in rows])
    flat = rows.reshape(len(rows), -1)
    return jnp.matmul(flat, flat.T, precision=jax.lax.Precision.HIGHEST)


def _where(block: Block) -> tuple[slice, slice]:
    """Return where the products of a block stand."""
    mine = slice(block.start, block.start + len(block.rows))
    return mine, mine
