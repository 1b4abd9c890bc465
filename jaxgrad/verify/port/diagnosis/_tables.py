"""Tables of positions: sinusoids in their forms, and the rows that an embedding looks up."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxgrad.verify.judge._tolerances import RECOGNISED_TABLE
from jaxgrad.verify.port.diagnosis._catalogue import cause
from jaxgrad.verify.port.diagnosis._evidence import Evidence
from jaxgrad.verify.port.diagnosis._gates import GATES
from jaxgrad.verify.port.diagnosis._known_functions import ELEMENTWISE, same
from jaxgrad.verify.port.diagnosis._matcher import Change, Family, Option, match
from jaxgrad.verify.report._records import Cause

__all__ = ["indices", "sinusoids"]

SETTINGS: dict[str, tuple[Option, ...]] = {
    "order": (Option("sin cos", "sines before cosines"), Option("cos sin", "cosines before sines"),
              Option("sin, cos", "sines and cosines by turns"), Option("cos, sin", "cosines and sines by turns")),
    "count": (Option(0, "frequencies base^(-i / (d/2))"), Option(1, "frequencies base^(-i / (d/2 - 1))"),
              Option("double", "frequencies base^(-i / d)")),
    "base": tuple(Option(b, f"a largest timescale of {b:g}") for b in (1e4, 1e3, 1e5, 1e6, 5e5, 1e2, 2e4)),
    "start": tuple(Option(s, f"positions from {s}") for s in (0, 1, -1, 2)),
    "factor": tuple(Option(f, f"angles times {f:g}") for f in (1.0, 1000.0, 0.001, float(2 * np.pi))),
}  # fmt: skip


def sinusoids(e: Evidence) -> list[Cause]:
    """A table of sines and cosines that is added, or the sinusoids of a timestep."""
    if e.want.shape != e.got.shape or e.want.ndim < 2:
        return []
    for positions, want, got in _candidates(e):

        def table(positions: np.ndarray = positions, width: int = want.shape[-1], **s: Any) -> np.ndarray:
            return _table(positions, width, **s)

        family = Family(table, SETTINGS, ("order", "count", "base", "factor"), RECOGNISED_TABLE)
        found = match(family, want, got)
        if found:
            timestep = positions.ndim == 1 and want.ndim == 2 and e.want.ndim == 2
            name = "timestep-embedding" if timestep else "sinusoids"
            return [_told(e, name, change) for change in found]
    return []


def _told(e: Evidence, name: str, change: Change) -> Cause:
    """Return the cause of one setting."""
    text = f"JAX's sinusoids have {change.ours.words}, torch's {change.theirs.words}."
    return cause(name, text, f"Write the table with {change.theirs.words}.", e.first.path, proven=True)


def _candidates(e: Evidence) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield positions with what may be sinusoids of them on either side."""
    if e.want.ndim == 2:
        for call in e.around:
            for x in call.inputs:
                if x is not None and x.ndim == 1 and len(x) == len(e.want) and x.dtype.kind in "iuf":
                    yield x.astype(float), e.want, e.got
    sources = [x for x in e.sources.values() if x.shape == e.want.shape]
    with np.errstate(all="ignore"):
        # what the table is added to may have gone through an activation without a layer of its own
        sources += [ELEMENTWISE[name](x) for x in sources for name in GATES[1:]]
    for source in [np.zeros(e.want.shape), *sources]:
        want, got = e.want - source, e.got - source
        # the same for every example
        if want.ndim == 3 and same(want[:1] + 0 * want, want, RECOGNISED_TABLE):
            yield np.arange(want.shape[1]).astype(float), want[0], got[0]


def _table(positions: np.ndarray, width: int, **s: Any) -> np.ndarray:
    """Compute sinusoids with settings."""
    half, base = width // 2, float(s["base"])
    steps = {0: half, 1: half - 1, "double": width}[s["count"]]
    frequency = base ** (-np.arange(half) / steps)
    angle = np.outer(positions + s["start"], frequency) * s["factor"]
    parts = {"sin": np.sin(angle), "cos": np.cos(angle)}
    order = str(s["order"])
    first, second = order.replace(",", "").split()
    if "," in order:
        return np.stack([parts[first], parts[second]], -1).reshape(len(positions), -1)
    return np.concatenate([parts[first], parts[second]], -1)


def indices(e: Evidence) -> list[Cause]:
    """Rows of the same table, looked up at other indices than torch's."""
    weight = e.weight("weight")
    taken = e.inputs[0] if e.inputs else None
    if weight is None or taken is None or taken.dtype.kind not in "iu" or e.got.shape[-1:] != weight.shape[1:]:
        return []
    if e.got.shape[:-1] != taken.shape:
        return []
    for axis, step in itertools.product(range(taken.ndim), (1, -1)):
        if same(weight[np.roll(taken, step, axis)], e.got):
            text = f"JAX looks the indices up shifted by one along axis {axis}."
            return [cause("shift", text, "", e.pair.call.path, proven=True)]
    rows = e.got.reshape(-1, weight.shape[1])
    apart = (rows**2).sum(1)[:, None] - 2 * rows @ weight.T + (weight**2).sum(1)[None]
    ours = apart.argmin(1)
    if not same(weight[ours], rows):
        return []
    ours = ours.reshape(taken.shape)
    if taken.ndim > 1 and taken.shape[-1] == taken.shape[-2] and (weight[ours] == weight[taken.swapaxes(-1, -2)]).all():
        text = (
            "JAX looks torch's indices up with their last two axes exchanged, as key minus query for query minus key."
        )
        return [cause("index", text, "Exchange the two terms of the difference.", e.pair.call.path, proven=True)]
    wrong = ours != taken
    steps = np.unique(ours[wrong].astype(int) - taken[wrong])
    if len(steps) == 1 and wrong.all():
        text = f"JAX looks up torch's index {'plus' if steps[0] > 0 else 'minus'} {abs(int(steps[0]))} everywhere."
    else:
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        text = (f"JAX looks up other rows at {int(wrong.sum())} of {wrong.size} places: at {place} it takes row"
                f" {int(ours[place])}, torch row {int(taken[place])}.")  # fmt: skip
    return [cause("index", text, "", e.pair.call.path, proven=True)]
