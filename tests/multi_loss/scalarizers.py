"""Losses that every stateless scalarizer is tried on, and how it is called: one program each, evaluated once."""

import functools

import jax
import numpy as np

import torch_ref.multi_loss
from jaxgrad import multi_loss
from jaxgrad.verify._bridge import to_torch

__all__ = ["LOSSES", "OPTIONS", "evaluated", "evaluated_torch", "ours"]

LOSSES = np.array([[0.7, 2.1, 1.3], [3.0, 0.2, 0.9], [1.0, 1.5, 0.1], [0.4, 0.4, 0.5]])
WEIGHTS = np.array([0.2, 0.5, 0.3])
START = np.array([0.1, -0.3, 0.05])

OPTIONS = {
    "stch": {"mu": 0.3, "weights": WEIGHTS, "reference": START},
    "cosmos": {"weights": WEIGHTS, "penalty": 2.0},
    "pbi": {"weights": WEIGHTS, "penalty": 5.0, "reference": START},
    "geometric_mean": {},
}
"""By name, what it is given beside the losses."""


def ours(name):
    return functools.partial(getattr(multi_loss, name), **OPTIONS[name])


@functools.cache
def evaluated(name):
    """Return the values on all losses, and their derivatives."""
    return jax.device_get(jax.jit(jax.vmap(jax.value_and_grad(ours(name))))(LOSSES))


@functools.cache
def evaluated_torch(name):
    """Return the twin's."""
    losses = to_torch(LOSSES).requires_grad_()
    values = [getattr(torch_ref.multi_loss, name)(row, **to_torch(OPTIONS[name])) for row in losses]
    sum(values).backward()
    return np.array([value.item() for value in values]), losses.grad.numpy()
