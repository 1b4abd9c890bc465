"""Simple rules of the Gram matrix, in both frameworks."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import torch

__all__ = ["Drifting", "compiled", "drifting", "mean", "to_unit_norms", "to_unit_norms_torch"]


def compiled(made):
    """Return a pair of init and update whose update is one program, not one for each operation."""
    return made._replace(update=jax.jit(made.update))


def mean(gram):
    """Weigh all losses alike."""
    return jnp.full(gram.shape[0], 1 / gram.shape[0], gram.dtype)


def to_unit_norms(gram, *, power=0.5):
    """Divide every row by its norm."""
    return jnp.diagonal(gram) ** -jnp.asarray(power, gram.dtype)


def to_unit_norms_torch(gram):
    """Do the same in torch."""
    return torch.diagonal(gram) ** -0.5


class Drifting(NamedTuple):
    """A weighting with a state, as those of the family are."""

    init: object
    update: object


def drifting(rate):
    """Mean weights, which drift towards the last ones."""

    def update(gram, state):
        weights = (1 - rate) * state + rate * to_unit_norms(gram)
        return weights, weights

    return Drifting(lambda count: jnp.ones(count), update)
