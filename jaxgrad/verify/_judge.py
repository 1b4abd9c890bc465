"""The verdict on two trees, and the only place where tolerances stand.

Two stages. In float64 two definitions agree to rounding, so a difference there is a difference of definition. In
float32 the error against the float64 answer is measured in multiples of torch's own float32 error.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np

__all__ = [
    "CLOSED_FORM_F64",
    "DEFINITION_F64",
    "NOISE_MULTIPLE",
    "NOISE_MULTIPLE_OF_A_NUMBER",
    "SMALL_LEAF",
    "Difference",
    "Verdict",
    "compare",
    "judge",
    "noise_multiple",
    "size",
    "to_numpy",
    "worst",
]

DEFINITION_F64 = 1e-10
"""The largest relative L2 error of a leaf in float64, of ``max(norm(leaf), 1e-3 norm(tree))``."""

CLOSED_FORM_F64 = 1e-10
"""The same against a closed form."""

NOISE_MULTIPLE = 10.0
"""The largest float32 error of a leaf, in multiples of torch's own on it.

Correct code stays below 3 (200 random networks, Hessian products), except on a leaf that is one number: torch's
rounding of one number is small by luck now and then, and 0.5% of correct ones lie beyond 10.
"""

NOISE_MULTIPLE_OF_A_NUMBER = 100.0
"""The same on a leaf that is one number: of two equally large roundings, 0.6% have a ratio beyond 100."""

SMALL_LEAF = 1e-3
"""A leaf smaller than this part of its tree is measured against that part: its own digits are noise."""


@dataclass(frozen=True)
class Difference:
    """How far one leaf lies from its reference."""

    path: str
    """The leaf's path, its keys joined by ``/``; empty for a tree that is one array."""
    error: float
    """Relative L2 error; infinite where the leaf is missing, of another shape or dtype, or not finite on one side."""
    note: str = ""
    """What is wrong beside the numbers: a missing leaf, a shape, a dtype."""
    allowed: float = DEFINITION_F64
    """The largest error that counts as agreement."""


@dataclass(frozen=True)
class Verdict:
    """What both stages say about one quantity."""

    definition: Difference
    """The worst leaf in float64, against torch and, where there is one, the closed form."""
    rounding: Difference
    """The worst leaf in float32, in multiples of torch's own error."""
    wrong: tuple[tuple[str, str], ...]
    """The paths that failed, each with the stage and the measure that it failed; empty when both agree."""


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
    whole = size(np.array([size(leaf) for leaf in theirs.values()]))
    return [_compare_leaf(path, ours.get(path), theirs.get(path), whole, dtypes) for path in sorted(ours | theirs)]


def _wide(leaf: np.ndarray) -> np.ndarray:
    """Return a leaf in the dtype in which it is measured."""
    return leaf.astype(np.complex128 if np.iscomplexobj(leaf) else np.float64)


def size(leaf: np.ndarray) -> float:
    """Return the L2 norm, taken so that the squares neither overflow nor vanish."""
    leaf = _wide(leaf).ravel()
    peak = float(np.max(np.abs(leaf), initial=0.0))
    return peak * float(np.linalg.norm(leaf / peak)) if 0 < peak < np.inf else peak


def _compare_leaf(
    path: str, ours: np.ndarray | None, theirs: np.ndarray | None, whole: float, dtypes: bool
) -> Difference:
    """Compare one leaf with its reference."""
    note = _mismatch(ours, theirs, dtypes)
    if note or ours is None or theirs is None:
        return Difference(path, np.inf, note)
    ours, theirs = _wide(ours), _wide(theirs)
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        same = np.array_equal(ours, theirs, equal_nan=False)
        return Difference(path, 0.0 if same else np.inf, "" if same else "NaN or infinity")
    distance, scale = size(ours - theirs), max(size(theirs), SMALL_LEAF * whole)
    return Difference(path, distance / scale if scale else (0.0 if distance == 0 else np.inf))


def _mismatch(ours: np.ndarray | None, theirs: np.ndarray | None, dtypes: bool) -> str:
    """Say why two leaves cannot be compared by their numbers; empty where they can."""
    if ours is None or theirs is None:
        return f"only {'the reference' if ours is None else 'our tree'} has this leaf"
    if ours.shape != theirs.shape:
        return f"shape {ours.shape} against {theirs.shape}"
    return f"dtype {ours.dtype} against {theirs.dtype}" if dtypes and ours.dtype != theirs.dtype else ""


def worst(differences: list[Difference]) -> Difference:
    """Return the difference that is largest in parts of what is allowed."""
    return max(differences, key=lambda difference: difference.error / difference.allowed)


def noise_multiple(got: Any, reference: Any, exact: Any) -> Difference:
    """Measure an error against the exact answer in multiples of the reference's own error.

    Args:
        got: Our answer at the working precision.
        reference: torch's answer at the same precision; a leaf of ours of another dtype is wrong.
        exact: torch's answer in float64.

    Returns:
        The worst leaf, its ``error`` in multiples of torch's error, which counts as at least one unit of
        float32 rounding of the leaf, and as that unit where torch's own answer is not finite.
    """
    ours, theirs = to_numpy(got), to_numpy(reference)
    noise = {d.path: d.error for d in compare(theirs, exact) if np.isfinite(d.error)}
    unit = float(jnp.finfo(jnp.float32).eps)

    def multiple(d: Difference) -> Difference:
        note = _mismatch(ours.get(d.path), theirs.get(d.path), dtypes=True)
        error = np.inf if note else d.error / max(noise.get(d.path, 0.0), unit)
        number = d.path in ours and ours[d.path].size == 1
        return Difference(d.path, error, note or d.note, NOISE_MULTIPLE_OF_A_NUMBER if number else NOISE_MULTIPLE)

    return worst([multiple(d) for d in compare(ours, exact)])


def judge(ours: tuple[Any, Any], theirs: tuple[Any, Any], truth: Any = None) -> Verdict:
    """Compare our answers with torch's in both stages.

    Args:
        ours: Our tree in float64 and in float32.
        theirs: torch's tree in float64 and in float32.
        truth: The closed form, where there is one.

    Returns:
        The worst leaf of each stage, and every way in which the two differ.

    Raises:
        ValueError: If both trees are empty, so that there is nothing to compare.
    """
    if not (to_numpy(ours[0]) or to_numpy(theirs[0])):
        message = "both trees are empty: there is nothing to compare"
        raise ValueError(message)
    definition = worst(compare(ours[0], theirs[0], dtypes=True))
    closed = Difference("", 0.0)
    if truth is not None:
        closed = dataclasses.replace(worst(compare(ours[0], truth)), allowed=CLOSED_FORM_F64)
    rounding = noise_multiple(ours[1], theirs[1], theirs[0])
    stages = [
        (definition, "float64: {:.1e} off torch, allowed {:g}"),
        (closed, "float64: {:.1e} off the closed form, allowed {:g}"),
        (rounding, "float32: {:.3g} times torch's own error, allowed {:g}"),
    ]
    wrong = [
        (d.path, f"{words.split(':')[0]}: {d.note}" if d.note else words.format(d.error, d.allowed))
        for d, words in stages
        if not d.error <= d.allowed
    ]
    return Verdict(worst([definition, closed]), rounding, tuple(wrong))
