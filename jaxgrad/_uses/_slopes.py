"""The derivatives of the losses of a batch along directions."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgrad import _jaxpr, _tree
from jaxgrad._types import Array, Tree
from jaxgrad._uses._batch import Problem, chunk_length
from jaxgrad._uses._chunks import over_chunks
from jaxgrad._uses._gradient_factors import gradient_factors

__all__ = ["Slopes", "from_slopes"]

Slopes = Callable[[list[Array]], Array]
"""Turns a direction into the derivatives of losses along it, of shape ``(B,)``."""


def from_slopes(problem: Problem, batch: tuple[Any, ...], use: Callable[[Slopes], Array]) -> tuple[Array, Tree]:
    """Return what ``use`` makes of the derivatives of the losses, a row an example; and aux.

    Forward mode, linearised once; a ``jax.custom_vjp`` has no forward mode, and gives inner products with gradients,
    which are formed once, chunk by chunk: ``use`` is then called with the derivatives of a chunk.
    """
    _, pushforward, aux = jax.linearize(problem.of_batch(batch), problem.leaves, has_aux=True)
    if not _jaxpr.contains(jax.make_jaxpr(pushforward)(problem.leaves).jaxpr, _jaxpr.is_reverse_only):
        return use(pushforward), aux

    def step(chunk: Any, _: Array) -> tuple[Any, tuple[Array, Tree]]:
        factors = gradient_factors(problem.plan, problem.leaves, chunk)
        return (), (
            use(lambda direction: jax.vmap(_tree.dot, (0, None))(list(factors.entries), direction)),
            factors.aux,
        )

    size = jax.tree.leaves(batch)[0].shape[0]
    return over_chunks(step, batch, jnp.ones(size, bool), chunk_length(problem, None, size))[1]
