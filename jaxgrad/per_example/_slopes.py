"""The derivatives of the losses of a batch along one direction."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgrad import _jaxpr, _tree
from jaxgrad._types import Array
from jaxgrad.per_example._engine._batch import Problem, chunk_length
from jaxgrad.per_example._engine._chunks import over_chunks
from jaxgrad.per_example._engine._ledger import keep_books
from jaxgrad.per_example._one import map_examples

__all__ = ["directional_derivatives"]


def directional_derivatives(problem: Problem, batch: tuple[Any, ...]) -> Callable[[list[Array]], Array]:
    """Return the function that turns a direction into the derivatives of all losses, of shape ``(B,)``.

    Forward mode, linearised once; a ``jax.custom_vjp`` has no forward mode, and gives inner products with gradients.
    """
    _, pushforward = jax.linearize(lambda leaves: map_examples(problem.fun, leaves, batch), problem.leaves)
    if _jaxpr.contains(jax.make_jaxpr(pushforward)(problem.leaves).jaxpr, _jaxpr.is_reverse_only):
        return _from_gradients(problem, batch)
    return pushforward


def _from_gradients(problem: Problem, batch: tuple[Any, ...]) -> Callable[[list[Array]], Array]:
    """Return the function of `directional_derivatives` by inner products with gradients, formed chunk by chunk."""
    size = jax.tree.leaves(batch)[0].shape[0]

    def slopes(direction: list[Array]) -> Array:
        def step(chunk: Any, _: Array) -> tuple[Any, Array]:
            rows = list(keep_books(problem.plan, problem.leaves, chunk).entries)
            return (), jax.vmap(_tree.dot, in_axes=(0, None))(rows, direction)

        length = chunk_length(problem, None, size)
        return over_chunks(step, batch, jnp.ones(size, bool), length)[1]

    return slopes
