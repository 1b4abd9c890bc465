"""Constant tensors moved a little: fresh scales of 1, biases and statistics of 0 hide what is done to them."""

import zlib
from collections.abc import Collection

import numpy as np

__all__ = ["is_statistic", "perturb"]

Tensors = dict[str, np.ndarray]


def perturb(params: Tensors, buffers: Tensors, frozen: Collection[str]) -> tuple[Tensors, Tensors, tuple[str, ...]]:
    """Return parameters and buffers with those that are constant moved, and the names of these.

    Frozen tensors and buffers that are no statistics stay: a port may have them as constants of its own.
    """
    moving = {n: p for n, p in params.items() if n not in frozen}
    statistics = {n: b for n, b in buffers.items() if is_statistic(n)}
    made = {name: _perturbed(name, x) for name, x in {**moving, **statistics}.items() if _hides(x)}
    return {n: made.get(n, p) for n, p in params.items()}, {n: made.get(n, b) for n, b in buffers.items()}, tuple(made)


def _hides(array: np.ndarray) -> bool:
    """Say whether a tensor is constant, so that nothing shows what is done to it; a single number is, where it is 0."""
    several = array.size > 1 or not array.any()
    return array.dtype == np.float64 and bool(array.size) and several and not np.ptp(array) > 0


def _perturbed(name: str, array: np.ndarray) -> np.ndarray:
    """Return a constant tensor with every entry moved by its own draw; a variance only grows."""
    noise = 0.1 * np.random.default_rng(zlib.crc32(name.encode())).normal(size=array.shape)
    return array + (np.abs(noise) if name.endswith("running_var") else noise)


def is_statistic(name: str) -> bool:
    """Say whether a buffer is a running statistic of a norm."""
    return name.endswith(("running_mean", "running_var"))
