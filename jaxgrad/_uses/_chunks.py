"""Batches in chunks: sums carried, per-example results stacked, the last chunk padded."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _sharding, _tree
from jaxgrad._types import Array, Tree

__all__ = ["over_chunks"]


def over_chunks(
    step: Callable[[Tree, Array], tuple[Tree, Tree]], batch: Tree, real: Array, microbatch: int, unroll: bool = False
) -> tuple[Tree, Tree]:
    """Apply ``step`` to chunks of a batch one after the other.

    Args:
        step: ``step(chunk, real)`` returns a tree to be summed over the chunks, and a tree of per-example rows.
        batch: Tree whose leaves have the examples along their leading axis.
        real: Of shape ``(B,)``: false for examples that are padding. A chunk that is filled up repeats the first
            example, marked as padding.
        microbatch: The length of a chunk.
        unroll: Whether the loop over the chunks is written out.

    Returns:
        The sum, and the rows of all examples in their order.
    """
    size = real.shape[0]
    if microbatch >= size:
        return step(batch, real)
    count = -(-size // microbatch)

    def split(leaf: Array) -> Array:
        # every count-th example: a batch that is sharded along its axis stays sharded within each chunk
        return jnp.swapaxes(leaf.reshape(microbatch, count, *leaf.shape[1:]), 0, 1)

    def fill(leaf: Array) -> Array:
        missing = count * microbatch - size
        return jnp.concatenate([leaf, jnp.repeat(leaf[:1], missing, axis=0)]) if missing else leaf

    filled = jnp.concatenate([real, jnp.zeros(count * microbatch - size, bool)])
    chunks = jax.tree.map(lambda leaf: split(fill(leaf)), batch)
    first = jax.tree.map(lambda leaf: leaf[0], (chunks, split(filled)))
    # traced once, for its shapes and for the loop
    traced, shapes = jax.make_jaxpr(step, return_shape=True)(*first)
    start = jax.tree.map(_sharding.zeros, shapes[0])

    def body(total: Tree, chunk: Any) -> tuple[Tree, Tree]:
        flat = jax.core.eval_jaxpr(traced.jaxpr, traced.consts, *jax.tree.leaves(chunk))
        addend, rows = jax.tree.unflatten(jax.tree.structure(shapes), flat)
        return _tree.add(total, addend), rows

    total, rows = lax.scan(body, start, (chunks, split(filled)), unroll=unroll)
    return total, jax.tree.map(lambda r: jnp.swapaxes(r, 0, 1).reshape(count * microbatch, *r.shape[2:])[:size], rows)
