"""The same numbers in another order: shifts, exchanged parts, pixel shuffles, states held; and pools over all."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxgrad.verify.judge._tolerances import RECOGNISED
from jaxgrad.verify.port.diagnosis._catalogue import cause
from jaxgrad.verify.port.diagnosis._evidence import Evidence
from jaxgrad.verify.port.diagnosis._known_functions import ELEMENTWISE, same
from jaxgrad.verify.port.diagnosis._matcher import Family, Option, match
from jaxgrad.verify.report._records import Cause

__all__ = ["LATEST", "held", "joined", "permuted", "reduced", "reordered", "shuffled", "shuffles"]

LATEST = 8
"""How many of the calls before a place are looked at, the latest first."""

MOST_SHIFTS = 256

MOST_PARTS = 8
"""How many arrays code joins at most, as it is written out."""

USUAL = ("relu", "silu", "gelu (erf)", "gelu (tanh)", "tanh")
"""Activations that are tried before a reduction."""


def joined(e: Evidence) -> list[Cause]:
    """Two parts exchanged along an axis: joined in another order along the last, rolled along any other."""
    if e.want.shape != e.got.shape:
        return []
    for axis, size in enumerate(e.want.shape):
        for step in range(1, min(size, MOST_SHIFTS)):
            if not np.allclose(e.want.take(-step % size, axis), e.got.take(0, axis)) or not same(
                np.roll(e.want, step, axis), e.got
            ):
                continue
            if axis == e.want.ndim - 1 and step > 1 and step < size - 1:
                text = f"JAX joins two parts of the last axis in the other order (at {size - step} of {size})."
                return [cause("concat-order", text, "", e.first.path, proven=True)]
            words = f"by {step} of {size}" if step not in (1, size - 1) else "by one"
            return [cause("shift", f"JAX's array is shifted {words} along axis {axis}.", "", e.first.path, proven=True)]
    return []


def permuted(e: Evidence) -> list[Cause]:
    """The entries of an axis stand in another order: parts of one width joined otherwise, or two factors exchanged."""
    told = reordered(e.want, e.got) if e.want.shape == e.got.shape else None
    return [cause(*told, e.first.path, proven=True)] if told else []


def reordered(want: np.ndarray, got: np.ndarray) -> tuple[str, str, str] | None:
    """Return the cause, its words and its fix where the entries of an axis stand in another order that has a name."""
    for axis in range(want.ndim - 1, 0, -1):
        order = _order(np.moveaxis(want, axis, 0), np.moveaxis(got, axis, 0))
        if order is None:
            continue
        if told := _grid(order, axis) or _parts(order, axis):
            return told
    return None


def _grid(order: np.ndarray, axis: int) -> tuple[str, str, str] | None:
    """Say whether an order reads a grid by columns; a token of the class may stand before the pixels of an image."""
    for lead in (0, 1):
        tail, rest = order[lead:] - lead, len(order) - lead
        for count in (n for n in range(2, rest) if rest % n == 0 and (order[:lead] == np.arange(lead)).all()):
            if (tail == np.arange(rest).reshape(count, -1).T.ravel()).all():
                theirs, ours = f"({count}, {rest // count})", f"({rest // count}, {count})"
                text = f"JAX has axis {axis} as {ours} where torch has it as {theirs}."
                return "axis-order", text, f"Exchange the two axes before they become one of {rest}."
    return None


def _parts(order: np.ndarray, axis: int) -> tuple[str, str, str] | None:
    """Say whether an order exchanges parts of one width."""
    if len(order) > 2 and (order == np.arange(len(order))[::-1]).all():
        return "axis-order", f"axis {axis} of JAX's array runs backwards: its first entry is torch's last.", "Turn it."
    size = len(order)
    for count in (n for n in range(2, min(size, MOST_PARTS) + 1) if size % n == 0):
        width, starts = size // count, order.reshape(count, -1)[:, 0]
        if (order.reshape(count, -1) == starts[:, None] + np.arange(width)).all() and (starts % width == 0).all():
            told = ", ".join(str(1 + start // width) for start in starts)
            return "concat-order", f"JAX joins torch's {count} parts of axis {axis} in the order {told}.", ""
    return None


def _order(want: np.ndarray, got: np.ndarray) -> np.ndarray | None:
    """Return which entry of torch's each entry of JAX's is, along the first axis; nothing if any is none of them."""
    size = len(want)
    if not 1 < size <= MOST_SHIFTS:
        return None
    theirs, ours = want.reshape(size, -1), got.reshape(size, -1)
    # one entry tells which may be the same
    close = np.isclose(ours[:, :1], theirs[None, :, 0], rtol=RECOGNISED, atol=0)
    if not close.any(1).all():
        return None
    order = close.argmax(1)
    changed = len(set(order.tolist())) == size and (order != np.arange(size)).any()
    return order if changed and same(theirs[order], ours) else None


def shuffled(e: Evidence) -> list[Cause]:
    """A pixel shuffle whose channels are read in another order."""
    if e.want.ndim != 4 or e.want.shape != e.got.shape:
        return []
    for call in e.before[::-1][:LATEST]:
        x = call.output
        if x is None or x.ndim != 4 or x.size != e.want.size or x.shape[2] >= e.want.shape[1]:
            continue
        orders = dict(shuffles(x, e.want.shape))
        theirs = next((words for words, made in orders.items() if same(made, e.want)), None)
        ours = next((words for words, made in orders.items() if same(made, e.got)), None)
        if theirs and ours and theirs != ours:
            text = f"JAX reads the channels of {call.path} as {ours}, torch as {theirs}."
            return [cause("shuffle-order", text, "", e.first.path, proven=True)]
    return []


def shuffles(x: np.ndarray, shape: tuple[int, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the images, channels last, that a shuffle can make of many channels, by how it reads them."""
    count, channels, height, width = x.shape
    r, q = shape[1] // height, shape[2] // width
    if r * q * shape[3] != channels:
        return
    sizes = {"channel": shape[3], "row": r, "column": q}
    for order in itertools.permutations(sizes):
        apart = x.reshape(count, *(sizes[name] for name in order), height, width)
        axes = {name: 1 + i for i, name in enumerate(order)}
        made = apart.transpose(0, 4, axes["row"], 5, axes["column"], axes["channel"])
        yield f"({', '.join(order)})", made.reshape(shape)


def held(e: Evidence) -> list[Cause]:
    """The last state of each sequence is carried on through the padding on one side."""
    if e.want.shape != e.got.shape or e.want.ndim != 3:
        return []
    wrong = np.abs(e.want - e.got).max(-1) > 0
    for words, kept, other in (("JAX", e.got, e.want), ("torch", e.want, e.got)):
        frozen = np.zeros(wrong.shape, bool)
        frozen[:, 1:] = (kept[:, 1:] == kept[:, :-1]).all(-1) & (other[:, 1:] != other[:, :-1]).any(-1)
        # every wrong position repeats the one before it
        if wrong.any() and not (wrong & ~frozen).any() and not wrong[:, 0].any():
            text = f"{words} holds the state at the {int(wrong.sum())} positions of the padding, the other runs on."
            return [cause("packed", text, "", e.first.path, proven=True)]
    return []


def reduced(e: Evidence) -> list[Cause]:
    """A mean, maximum or single entry over positions or pixels, with or without the padding."""
    if e.want.shape != e.got.shape:
        return []
    # axes that a reduction keeps hold one entry each
    left = tuple(s for a, s in enumerate(e.want.shape) if s > 1 or not a)
    shapes = dict.fromkeys([e.want.shape, left])
    return next((found for shape in shapes if (found := _reduced_to(e, shape))), [])


def _reduced_to(e: Evidence, left: tuple[int, ...]) -> list[Cause]:
    """Explain a reduction that leaves a shape."""
    want, got = e.want.reshape(left), e.got.reshape(left)
    given = [(c.path, c.output) for c in e.before[::-1]] + [("the input", x) for c in e.around for x in c.inputs[:1]]
    with np.errstate(all="ignore"):
        # an activation behind the latest may be no layer of its own
        given[1:1] = [(f"{label} of {name}", ELEMENTWISE[label](x)) for name, x in given[:1]
                      if x is not None and x.dtype.kind == "f" and x.ndim > want.ndim for label in USUAL]  # fmt: skip
    tried = 0
    for name, x in given:
        if x is None or x.dtype.kind != "f" or x.ndim <= want.ndim or x.ndim < e.want.ndim:
            continue
        for axes in _axes(x.shape, left):
            family = Family(lambda x=x, axes=axes, **s: _reduce(x, axes, **s), _kinds(e, x, axes), ("over", "kept"))
            found = match(family, want, got)
            if found:
                ways = {c.setting: c for c in found}
                text = "; ".join(f"JAX takes {c.ours.words}, torch {c.theirs.words}" for c in found)
                masked = "over" not in ways or {c.value for c in (ways["over"].ours, ways["over"].theirs)} <= MEANS
                kind = "masked-mean" if masked else "pool-kind"
                return [cause(kind, f"Of {name}, over axes {axes}: {text}.", "", e.first.path, proven=True)]
        tried += 1
        if tried >= LATEST + len(USUAL):
            break
    return []


MEANS = {"mean", "sum", "mean of all"}


def _axes(whole: tuple[int, ...], left: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the axes that may have been reduced."""
    count = len(whole) - len(left)
    options = itertools.combinations(range(1, len(whole)), count)
    return [axes for axes in options if tuple(s for a, s in enumerate(whole) if a not in axes) == left]


def _kinds(e: Evidence, x: np.ndarray, axes: tuple[int, ...]) -> dict[str, tuple[Option, ...]]:
    """Return the ways of a reduction, and the masks of the batch that go with it."""
    masks: list[Option] = [Option(None, "all positions")]
    if len(axes) == 1:
        for i, given in enumerate(e.bound.batch):
            if given.ndim == 2 and given.shape == (len(x), x.shape[axes[0]]) and given.dtype.kind in "biu":
                for words, kept in (("is set", given != 0), ("is not set", given == 0), ("is not 1", given != 1)):
                    if kept.any() and not kept.all():
                        masks.append(_Kept(kept, f"the positions where array {i} of the batch {words}"))
    ways = (("mean", "the mean"), ("max", "the maximum"), ("sum", "the sum"), ("first", "the first"),
            ("last", "the last"), ("min", "the minimum"), ("logsumexp", "the logarithm of the sum of exponentials"),
            ("norm", "the norm"), ("mean of all", "the sum over the number of all positions"))  # fmt: skip
    return {"over": tuple(Option(v, w) for v, w in ways), "kept": tuple(masks)}


class _Kept(Option):
    """A mask as an option: arrays do not compare as values do."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


def _reduce(x: np.ndarray, axes: tuple[int, ...], **s: Any) -> np.ndarray | None:
    """Compute a reduction with settings."""
    over, kept = s["over"], s["kept"]
    if kept is None:
        mask = np.ones([1] * x.ndim, bool)
    else:
        mask = kept.reshape([n if a in (0, axes[0]) else 1 for a, n in enumerate(x.shape)])
    full = np.broadcast_to(mask, x.shape)
    if over == "mean":
        return (x * full).sum(axes) / full.sum(axes)
    if over == "mean of all":
        return (x * full).mean(axes)
    if over == "sum":
        return (x * full).sum(axes)
    if over in ("max", "min"):
        sign = 1 if over == "max" else -1
        return sign * np.where(full, sign * x, -np.inf).max(axes)
    if kept is None and over in ("first", "last"):
        return x[tuple((0 if over == "first" else -1) if a in axes else slice(None) for a in range(x.ndim))]
    if len(axes) == 1 and over in ("first", "last"):
        at = (
            full.argmax(axes[0])
            if over == "first"
            else full.shape[axes[0]] - 1 - np.flip(full, axes[0]).argmax(axes[0])
        )
        return np.take_along_axis(x, np.expand_dims(at, axes[0]), axes[0]).squeeze(axes[0])
    if over == "logsumexp":
        return np.log((np.exp(x) * full).sum(axes))
    if over == "norm":
        return np.sqrt(((x * full) ** 2).sum(axes))
    return None
