"""The error of one leaf: the relative L2 distance, with norms whose squares neither overflow nor vanish."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from jaxgrad.verify.judge._tolerances import SAFE, SMALL_LEAF

__all__ = ["distance", "floor_of", "ratio_and_cosine", "relative", "size", "whole", "wide"]


def wide(leaf: Any) -> np.ndarray:
    """Return a leaf in the dtype in which it is measured."""
    leaf = np.asarray(leaf)
    return leaf.astype(np.complex128 if np.iscomplexobj(leaf) else np.float64, copy=False)


def size(leaf: Any) -> float:
    """Return the L2 norm, taken so that the squares neither overflow nor vanish."""
    leaf = wide(leaf).ravel()
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        plain = float(np.sqrt(np.vdot(leaf, leaf).real))
    if SAFE[0] < plain < SAFE[1]:
        return plain
    peak = float(np.max(np.abs(leaf), initial=0.0))
    return peak * float(np.linalg.norm(leaf / peak)) if 0 < peak < np.inf else peak


def whole(leaves: Iterable[Any]) -> float:
    """Return the norm of several leaves together."""
    return size(np.array([size(leaf) for leaf in leaves]))


def floor_of(leaves: Iterable[Any], hint: float = 0.0) -> float:
    """Return the norm below which the digits of a leaf are noise.

    Args:
        leaves: The reference's.
        hint: A norm of the tree's natural size, where its own may vanish.
    """
    return SMALL_LEAF * max(whole(leaves), hint)


def relative(got: Any, want: Any, floor: float = 0.0) -> float:
    """Return the relative L2 error of one array, of its norm or of a floor; infinite for another shape or a NaN."""
    got, want = wide(got), wide(want)
    if got.shape != want.shape:
        return np.inf
    # the floor of a tree that holds infinities would hide every difference
    scale = max(size(want), floor if floor < np.inf else 0.0)
    apart = distance(got, want)
    peak = max(float(np.max(np.abs(x), initial=0.0)) for x in (got, want)) if max(apart, scale) == np.inf else np.inf
    if peak < np.inf:
        # only the norms overflow, as those of masks of finfo.min do: beside one another they are plain numbers
        return relative(got / peak, want / peak, floor / peak)
    if apart == 0 or apart == np.inf:
        return apart
    return apart / scale if scale else np.inf


def distance(got: np.ndarray, want: np.ndarray) -> float:
    """Return the L2 distance; infinities at the same places are no error, a NaN or another infinity is infinite."""
    with np.errstate(invalid="ignore", over="ignore"):
        apart = size(got - want)
    if np.isfinite(apart):
        return apart
    return 0.0 if np.array_equal(got, want, equal_nan=False) else np.inf


def ratio_and_cosine(got: np.ndarray, want: np.ndarray) -> tuple[float, float]:
    """Return the norm of one array over that of another, and the cosine between them; 1 where both vanish."""
    ours, theirs = size(got), size(want)
    if not ours or not theirs:
        return (1.0 if ours == theirs else 0.0 if theirs else np.inf), 1.0
    with np.errstate(invalid="ignore", over="ignore"):
        cosine = np.vdot(wide(got).ravel() / ours, wide(want).ravel() / theirs).real
        return float(np.divide(ours, theirs)), float(cosine)
