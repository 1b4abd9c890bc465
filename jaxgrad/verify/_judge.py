"""The verdict on two trees, and the only place where tolerances stand.

Two stages. In float64 two definitions agree to rounding, so a difference there is a difference of definition. In
float32 the error against the float64 answer is measured in multiples of torch's own float32 error.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np

__all__ = [
    "CLOSED_FORM_F64",
    "DEFINITION_F64",
    "NOISE_MULTIPLE",
    "Difference",
    "compare",
    "noise_multiple",
    "to_numpy",
    "worst",
]

DEFINITION_F64 = 1e-10
"""The largest relative L2 error of a leaf in float64, of ``max(norm(leaf), 1e-3 norm(tree))``."""

CLOSED_FORM_F64 = 1e-10
"""The same against a closed form."""

NOISE_MULTIPLE = 10.0
"""The largest float32 error, in multiples of torch's own on the same leaf."""

SMALL_LEAF = 1e-3
"""A leaf smaller than this part of its tree is measured against that part: its own digits are noise."""


@dataclass(frozen=True)
class Difference:
    """How far one leaf lies from its reference."""

    path: str
    """The leaf's path, its keys joined by ``/``."""
    error: float
    """Relative L2 error; infinite where the leaf is missing, of another shape, or NaN on one side."""
    note: str = ""
    """What is wrong beside the numbers: a missing leaf, a shape, a dtype."""


def to_numpy(tree: Any) -> dict[str, np.ndarray]:
    """Return every leaf by its path, as NumPy, from a tree of JAX, torch or NumPy arrays or numbers."""
    flat: dict[str, np.ndarray] = {}
    for path, leaf in jtu.tree_leaves_with_path(tree):
        if type(leaf).__module__.split(".")[0] == "torch":
            leaf = leaf.detach().cpu()
            leaf = leaf.double() if leaf.is_floating_point() and leaf.element_size() < 4 else leaf
        flat[jtu.keystr(path, simple=True, separator="/")] = np.asarray(leaf)
    return flat


def compare(got: Any, want: Any, *, dtypes: bool = False) -> list[Difference]:
    """Compare two trees leaf by leaf.

    Args:
        got: Tree of arrays of any framework.
        want: The reference, with the same paths and shapes.
        dtypes: Whether a leaf of another dtype counts as wrong.

    Returns:
        One difference for every path that either tree has.
    """
    ours, theirs = to_numpy(got), to_numpy(want)
    whole = np.sqrt(sum(float(np.sum(np.abs(leaf.astype(_wide(leaf))) ** 2)) for leaf in theirs.values()))
    return [_compare_leaf(path, ours.get(path), theirs.get(path), whole, dtypes) for path in sorted(ours | theirs)]


def _wide(leaf: np.ndarray) -> Any:
    """Return the dtype in which a leaf is measured."""
    return np.complex128 if np.iscomplexobj(leaf) else np.float64


def _compare_leaf(
    path: str, ours: np.ndarray | None, theirs: np.ndarray | None, whole: float, dtypes: bool
) -> Difference:
    """Compare one leaf with its reference."""
    if ours is None or theirs is None:
        return Difference(path, np.inf, f"only {'the reference' if ours is None else 'our tree'} has this leaf")
    if ours.shape != theirs.shape:
        return Difference(path, np.inf, f"shape {ours.shape} against {theirs.shape}")
    if dtypes and ours.dtype != theirs.dtype:
        return Difference(path, np.inf, f"dtype {ours.dtype} against {theirs.dtype}")
    ours, theirs = ours.astype(_wide(ours)), theirs.astype(_wide(theirs))
    distance, size = float(np.linalg.norm((ours - theirs).ravel())), float(np.linalg.norm(theirs.ravel()))
    if not np.isfinite(distance):
        same = np.array_equal(ours, theirs, equal_nan=False)
        return Difference(path, 0.0 if same else np.inf, "" if same else "NaN or infinity")
    scale = max(size, SMALL_LEAF * whole)
    return Difference(path, distance / scale if scale else (0.0 if distance == 0 else np.inf))


def worst(differences: list[Difference]) -> Difference:
    """Return the largest difference."""
    return max(differences, key=lambda difference: difference.error)


def noise_multiple(got: Any, reference: Any, exact: Any) -> Difference:
    """Measure an error against the exact answer in multiples of the reference's own error.

    Args:
        got: Our answer at the working precision.
        reference: torch's answer at the same precision.
        exact: torch's answer in float64.

    Returns:
        The worst leaf, its ``error`` in multiples of torch's error, which counts as at least one unit of
        float32 rounding of the leaf.
    """
    ours = {d.path: d for d in compare(got, exact)}
    theirs = {d.path: d for d in compare(reference, exact)}
    unit = float(jnp.finfo(jnp.float32).eps)
    multiples = [
        Difference(path, d.error / max(theirs[path].error if path in theirs else 0.0, unit), d.note)
        for path, d in ours.items()
    ]
    return worst(multiples)


def tree_cast(tree: Any, dtype: Any) -> Any:
    """Cast the floating-point leaves of a NumPy or JAX tree."""

    def cast(leaf: Any) -> Any:
        leaf = np.asarray(leaf)
        return leaf.astype(dtype) if np.issubdtype(leaf.dtype, np.floating) else leaf

    return jax.tree.map(cast, tree)
