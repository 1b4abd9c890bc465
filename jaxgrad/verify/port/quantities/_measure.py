"""How far two sets of arrays lie apart, leaf by leaf, with what a person needs to find out why."""

from typing import Any

import numpy as np

from jaxgrad.verify.judge import floor_of, ratio_and_cosine, relative
from jaxgrad.verify.judge._tolerances import NOT_ZERO
from jaxgrad.verify.report._records import Leaf

__all__ = ["measure"]


def measure(
    got: dict[str, np.ndarray], want: dict[str, np.ndarray], names: Any, *, tolerance: float, hint: float = 0.0
) -> list[Leaf]:
    """Compare arrays by torch name.

    Args:
        got: JAX's, by torch name.
        want: torch's.
        names: Function from a torch name to the JAX paths.
        tolerance: Above which an entry counts as mismatched.
        hint: A norm of the quantity's natural size, where its own may vanish.
    """
    floor = floor_of(want.values(), hint)
    return [_leaf(name, names(name), got.get(name), want.get(name), floor, tolerance) for name in {**want, **got}]


def _leaf(name: str, path: str, got: Any, want: Any, floor: float, tolerance: float) -> Leaf:
    """Compare one array."""
    if got is None or want is None:
        return Leaf(name, path, np.inf, note=f"only {'torch' if got is None else 'JAX'} has it")
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    if got.shape != want.shape:
        return Leaf(name, path, np.inf, note=f"shape {got.shape} in JAX, {want.shape} in torch")
    leaf = Leaf(name, path, 0.0, size=got.size)
    if not got.size:
        return leaf
    leaf.error = relative(got, want, floor)
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.abs(got - want)
    finite = bool(np.isfinite(gap).all())
    if not finite:
        gap = np.where(np.isnan(gap), np.where(np.isnan(got) & np.isnan(want), 0, np.inf), gap)
    leaf.index = tuple(int(i) for i in np.unravel_index(int(np.argmax(gap)), gap.shape))
    leaf.got, leaf.want, leaf.max_abs = float(got[leaf.index]), float(want[leaf.index]), float(gap[leaf.index])
    if leaf.error > tolerance:
        largest = max(float(np.nanmax(np.abs(want), initial=0)), NOT_ZERO)
        leaf.mismatched = int(np.sum(gap > tolerance * largest))
    leaf.ratio, leaf.cosine = ratio_and_cosine(got, want)
    if not finite and np.isnan(got).any() != np.isnan(want).any():
        leaf.note = f"NaN only in {'JAX' if np.isnan(got).any() else 'torch'}"
    return leaf
