"""The verdict on two trees.

Two stages. In float64 two definitions agree to rounding, so a difference there is a difference of definition. In
float32 the error against the float64 answer is measured in multiples of torch's own float32 error.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxgrad.verify.judge._arrays import to_numpy
from jaxgrad.verify.judge._leaf import floor_of, relative
from jaxgrad.verify.judge._rounding import allowed_multiple, multiples
from jaxgrad.verify.judge._tolerances import CLOSED_FORM_F64, DEFINITION_F64

__all__ = ["Difference", "Verdict", "compare", "judge", "noise_multiple", "worst"]


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
    floor = floor_of(theirs.values())
    return [_compare_leaf(path, ours.get(path), theirs.get(path), floor, dtypes) for path in sorted(ours | theirs)]


def _compare_leaf(
    path: str, ours: np.ndarray | None, theirs: np.ndarray | None, floor: float, dtypes: bool
) -> Difference:
    """Compare one leaf with its reference."""
    note = _mismatch(ours, theirs, dtypes)
    if note or ours is None or theirs is None:
        return Difference(path, np.inf, note)
    error = relative(ours, theirs, floor)
    # before the conversion, for dtypes that NumPy does not know
    finite = all(np.isfinite(leaf.astype(complex)).all() for leaf in (ours, theirs))
    return Difference(path, error, "" if finite or error == 0 else "NaN or infinity")


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
        The worst leaf, its ``error`` in multiples of torch's error as `multiples` counts them.
    """
    ours, theirs, true = to_numpy(got), to_numpy(reference), to_numpy(exact)
    same_shape = {path: leaf for path, leaf in theirs.items() if path in true and leaf.shape == true[path].shape}
    found = multiples(ours, [same_shape], true, np.float32, floor_of(true.values()))

    def multiple(d: Difference) -> Difference:
        note = _mismatch(ours.get(d.path), theirs.get(d.path), dtypes=True)
        count = ours[d.path].size if d.path in ours else 0
        return Difference(
            d.path, np.inf if note else found.get(d.path, np.inf), note or d.note, allowed_multiple(count)
        )

    return worst([multiple(d) for d in compare(ours, true)])


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
