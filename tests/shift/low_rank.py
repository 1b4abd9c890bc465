"""What the tests of shifts of low rank share: factors that no generator draws, and the stack that they stand for."""

import functools

import jax

from jaxgrad import shift
from tests.bridge import random_like

__all__ = ["dense", "factors"]


def factors(loss, params, *data, number, rank, scale=1.0, **options):
    """Return what `shift.low_rank_shifts` would, with numbers of NumPy's: JAX's generator compiles slowly."""
    call = functools.partial(
        shift.low_rank_shifts, loss, key=jax.random.key(0), num_shifts=number, rank=rank, **options
    )
    return jax.tree.map(lambda leaf: scale * leaf, random_like(jax.eval_shape(call, params, *data), 1))


def dense(shifts):
    """Return the shifts in the shapes of the leaves."""

    def of(node):
        return node.dense() if isinstance(node, shift.LowRank) else node

    return jax.tree.map(of, shifts, is_leaf=lambda node: isinstance(node, shift.LowRank))
