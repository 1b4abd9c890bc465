"""A mask that is made before the layer which takes it: what it keeps, and what it adds to the scores that it drops."""

from collections.abc import Iterator

import numpy as np

from jaxgrad.verify.port.diagnosis._attention_parts import DROPPED
from jaxgrad.verify.port.diagnosis._catalogue import cause
from jaxgrad.verify.port.diagnosis._evidence import Evidence
from jaxgrad.verify.report._records import Cause

__all__ = ["added_mask"]


def added_mask(e: Evidence) -> list[Cause]:
    """Both sides hand a layer a mask that is added to scores, and keep other positions or add other numbers."""
    theirs, ours = (_two_valued(x) for x in (e.want, e.got))
    # that it is a mask shows by what torch adds: nothing where it keeps, and where it drops what no score makes up for
    if e.want.shape != e.got.shape or theirs is None or ours is None or not theirs[1] <= DROPPED:
        return []
    (kept, low), (held, other) = theirs, ours
    if np.array_equal(kept, held):
        if low == other:
            return []
        text = f"JAX adds {other:.6g} to the scores that the mask drops, torch {low:.6g}."
        return [cause("mask-value", text, "", e.first.path, proven=True)]
    for words, array, fix in _other_masks(kept):
        if np.array_equal(array, held):
            return [cause("mask", f"JAX's mask {words}.", fix, e.first.path, proven=True)]
    text = f"JAX's mask keeps {held.mean():.3g} of the positions, torch's {kept.mean():.3g}, and other ones."
    return [cause("mask", text, "Keep the positions that torch keeps.", e.first.path)]


def _two_valued(x: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Return where a mask that is added keeps, and what it adds elsewhere; ``None`` of what is no such mask."""
    if x.dtype.kind != "f" or not x.size or np.isnan(x).any():
        return None
    kept, low = x == 0, float(x.min())
    return (kept, low) if low <= 0 and bool((kept | (x == low)).all()) else None


def _other_masks(kept: np.ndarray) -> Iterator[tuple[str, np.ndarray, str]]:
    """Yield what a port may make of a mask, in words, with what to write."""
    yield "drops what torch keeps, and keeps what it drops", ~kept, "Invert it: 0 where a position is kept."
    yield "drops nothing", np.ones_like(kept), "Drop the positions that torch drops."
    if kept.ndim > 1:
        if kept.shape[-1] == kept.shape[-2]:
            turned = kept.swapaxes(-1, -2)
            yield "has queries and keys exchanged", turned, "Exchange its last two axes."
        yield "is shifted by one key", np.roll(kept, 1, -1), "Start it at torch's first key."
        yield "is shifted by one key", np.roll(kept, -1, -1), "Start it at torch's first key."
