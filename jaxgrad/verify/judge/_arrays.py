"""Trees and tensors of either framework as NumPy arrays by path."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np

__all__ = ["flatten", "to_array", "to_float64", "to_numpy", "unflatten"]


def flatten(tree: Any) -> dict[str, Any]:
    """Return the leaves by path, keys joined by ``/``."""
    return {jtu.keystr(p, simple=True, separator="/"): leaf for p, leaf in jtu.tree_leaves_with_path(tree)}


def unflatten(like: Any, leaves: dict[str, Any]) -> Any:
    """Return a tree of the structure of ``like`` with the leaves of a dictionary by path."""
    return jax.tree.unflatten(jax.tree.structure(like), [leaves[path] for path in flatten(like)])


def to_numpy(tree: Any) -> dict[str, np.ndarray]:
    """Return every leaf by its path, as NumPy, from a tree of JAX, torch or NumPy arrays or numbers."""
    return {path: to_array(leaf) for path, leaf in flatten(tree).items()}


def to_float64(leaf: Any) -> np.ndarray:
    """Return a copy of an array, a tensor or a number in float64; whole numbers and complex ones stay what they are."""
    array = to_array(leaf)
    return np.array(array, array.dtype if array.dtype.kind in "biuc" else np.float64)


def to_array(leaf: Any) -> np.ndarray:
    """Return an array, a tensor or a number as a NumPy array of the same dtype."""
    if type(leaf).__module__.split(".")[0] != "torch":
        return np.asarray(leaf)
    leaf = leaf.detach().cpu().resolve_conj().resolve_neg()
    # NumPy has no bfloat16 of its own, and torch cannot hand over JAX's
    half = str(leaf.dtype) == "torch.bfloat16"
    return leaf.float().numpy().astype(jnp.bfloat16) if half else leaf.numpy()
