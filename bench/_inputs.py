"""Inputs in both frameworks, torch's on the device that the run has chosen."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import jax
import numpy as np

from jaxgrad.verify import _bridge

__all__ = ["moved", "to_jax", "to_torch"]

_move: ContextVar[tuple[int, int] | None] = ContextVar("move", default=None)


@contextlib.contextmanager
def moved(seed: int, units: int = 1) -> Iterator[None]:
    """Move every number that becomes an input by up to some units of rounding of its dtype."""
    token = _move.set((seed, units))
    try:
        yield
    finally:
        _move.reset(token)


def to_jax(tree: Any, dtype: Any = None) -> Any:
    """Return a tree of NumPy arrays as JAX arrays; floating-point leaves are cast to ``dtype``."""
    return _bridge.to_jax(_moved(tree, dtype), dtype)


def to_torch(tree: Any, dtype: Any = None) -> Any:
    """Return a tree of NumPy or JAX arrays as torch tensors on torch's default device."""
    import torch

    return _bridge.to_torch(_moved(tree, dtype), dtype, torch.get_default_device())


def _moved(tree: Any, dtype: Any) -> Any:
    """Move the numbers of a tree where that is asked for; alike in both frameworks."""
    move = _move.get()
    if move is None:
        return tree

    def one(leaf: Any) -> np.ndarray:
        array = np.asarray(leaf)
        return _bridge.jittered(array, dtype or array.dtype, *move)

    return jax.tree.map(one, tree)
