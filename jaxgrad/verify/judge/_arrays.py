"""Trees and tensors of either framework as NumPy arrays by path."""

from typing import Any

import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np

__all__ = ["to_numpy"]


def to_numpy(tree: Any) -> dict[str, np.ndarray]:
    """Return every leaf by its path, as NumPy, from a tree of JAX, torch or NumPy arrays or numbers."""
    leaves = jtu.tree_leaves_with_path(tree)
    return {jtu.keystr(path, simple=True, separator="/"): _leaf_to_numpy(leaf) for path, leaf in leaves}


def _leaf_to_numpy(leaf: Any) -> np.ndarray:
    """Return one leaf as a NumPy array of the same dtype."""
    if type(leaf).__module__.split(".")[0] != "torch":
        return np.asarray(leaf)
    leaf = leaf.detach().cpu().resolve_conj().resolve_neg()
    # NumPy has no bfloat16 of its own, and torch cannot hand over JAX's
    half = str(leaf.dtype) == "torch.bfloat16"
    return leaf.float().numpy().astype(jnp.bfloat16) if half else leaf.numpy()
