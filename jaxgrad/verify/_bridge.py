"""Trees between the frameworks: NumPy in the middle, both sides given copies."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import _check

__all__ = ["jittered", "to_jax", "to_torch"]


def to_jax(tree: Any, dtype: Any = None) -> Any:
    """Return a tree of NumPy arrays as JAX arrays; floating-point leaves are cast to ``dtype``.

    Raises:
        ValueError: If float64 is asked for while x64 is off.
    """
    if dtype is not None and jnp.dtype(dtype) == jnp.float64 and not _check.x64_is_on():
        message = "float64 was asked for while x64 is off: JAX would compute in float32"
        raise ValueError(message)
    # not jnp.asarray, which compiles a program for every shape; a copy, since what is put on a CPU may share memory
    return jax.tree.map(lambda leaf: jax.device_put(np.array(_cast(leaf, dtype), copy=True)), tree)


def to_torch(tree: Any, dtype: Any = None, device: Any = None) -> Any:
    """Return a tree of NumPy or JAX arrays as torch tensors of the same shapes, each a copy of its own."""
    import torch

    def convert(leaf: Any) -> Any:
        # torch has no NumPy bfloat16: it goes through float32, which holds every bfloat16 exactly
        array = np.asarray(_cast(leaf, dtype))
        half = array.dtype == jnp.bfloat16
        tensor = torch.from_numpy(np.array(array, dtype=np.float32 if half else None, order="C", copy=True))
        return tensor.to(device=device, dtype=torch.bfloat16 if half else None)

    return jax.tree.map(convert, tree)


def jittered(array: np.ndarray, dtype: Any, seed: int | None, units: int = 1) -> np.ndarray:
    """Move every number by up to some units of rounding of a dtype, where a seed is given."""
    if seed is None or array.dtype.kind != "f":
        return array
    noise = np.random.default_rng([seed, array.size]).uniform(-1, 1, array.shape)
    return array * (1 + units * float(jnp.finfo(dtype).eps) * noise)


def _cast(leaf: Any, dtype: Any) -> np.ndarray:
    """Cast a floating-point leaf, and leave integers and bools as they are."""
    array = np.asarray(leaf)
    return array.astype(dtype) if dtype is not None and jnp.issubdtype(array.dtype, jnp.floating) else array
