"""Inputs in both frameworks, torch's on the device that the run has chosen."""

from typing import Any

from jaxgrad.verify import _bridge
from jaxgrad.verify._bridge import to_jax

__all__ = ["to_jax", "to_torch"]


def to_torch(tree: Any, dtype: Any = None) -> Any:
    """Return a tree of NumPy or JAX arrays as torch tensors on torch's default device."""
    import torch

    return _bridge.to_torch(tree, dtype, torch.get_default_device())
