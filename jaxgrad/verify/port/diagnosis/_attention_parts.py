"""What an attention is made of, as it lies at hand: projections, masks, biases of the scores, tables of a rotation."""

import dataclasses
import re
from typing import Any

import numpy as np

from jaxgrad.verify.port.diagnosis._evidence import Evidence
from jaxgrad.verify.port.tracing._record_torch import Call

__all__ = ["Problem", "biases_of", "masks_of", "projections", "tables_of"]

NAMES = {"q": r"(^|_|\d|to)(q|query|queries|theta)(_|\d|$|proj|lin)|^q|^query|^wq$",
         "k": r"(^|_|\d|to)(k|key|keys|phi)(_|\d|$|proj|lin)|^k|^key|^wk$",
         "v": r"(^|_|\d|to)(v|value|values|g)(_|\d|$|proj|lin)|^v|^value|^wv$"}  # fmt: skip
"""How the projections are called."""


DROPPED = -1e4
"""Scores with this added or less are masked: the exponential of it is nothing in any precision."""


@dataclasses.dataclass
class Problem:
    """One attention, its numbers laid out as (batch, positions, width)."""

    parts: dict[str, np.ndarray]
    """``q``, ``k`` and ``v``, or one array under ``qkv`` that holds them."""
    masks: dict[str, np.ndarray]
    """What may be masked, by its words: True keeps; additive arrays of floats are added."""
    biases: dict[str, np.ndarray]
    """What may be added to the scores, one row a head."""
    tables: dict[str, tuple[np.ndarray, np.ndarray]]
    """Cosines and sines of a rotation that the caller handed in."""
    rows: np.ndarray
    """The queries that are computed."""
    finish: Any = None
    """What is done behind: the output projection."""

    def narrowed(self, example: int, rows: np.ndarray) -> "Problem":
        """Return the problem of one example and a few queries."""

        def one(x: np.ndarray, size: int) -> np.ndarray:
            # windows of several images share their masks
            return x[example % len(x)][None] if len(x) > 1 and size % len(x) == 0 else x

        size = len(next(iter(self.parts.values())))
        parts = {n: x[example : example + 1] for n, x in self.parts.items()}
        masks = {n: one(x, size) if x.ndim == 4 else x for n, x in self.masks.items()}
        biases = {n: one(x, size) for n, x in self.biases.items()}
        return dataclasses.replace(self, parts=parts, masks=masks, biases=biases, rows=rows)


def projections(e: Evidence, shape: tuple[int, ...]) -> list[dict[str, np.ndarray]]:
    """Return what may be the queries, keys and values: by their names, in the order of execution, or in one array."""
    held: list[tuple[str, np.ndarray]] = []
    for call in e.before:
        flat = _sequence(call)
        if flat is not None and len(flat) == shape[0]:
            held.append((call.path.rpartition(".")[2].lower(), flat))
    found: list[dict[str, np.ndarray]] = []
    named: dict[str, np.ndarray] = {}
    for name, array in held:
        which = [part for part, pattern in NAMES.items() if re.search(pattern, name)]
        if len(which) == 1:
            # the latest of a name: behind a norm of the queries
            named[which[0]] = array
    if len(named) == 3 and named["k"].shape == named["v"].shape and named["q"].shape[1:] == shape[1:]:
        found.append({name: named[name] for name in "qkv"})
    last = [array for _, array in held[-3:]]
    if len(last) == 3 and last[0].shape[1:] == shape[1:] and last[1].shape == last[2].shape:
        found.append(dict(zip("qkv", last, strict=True)))
    found += [{"qkv": x} for _, x in held[::-1][:4] if x.shape[1] == shape[1] and x.shape[2] == 3 * shape[2]]
    return found


def _sequence(call: Call) -> np.ndarray | None:
    """Return what a call returns as (batch, positions, width)."""
    x = call.output
    if x is None or x.dtype.kind != "f" or x.ndim < 3:
        return None
    if x.ndim == 3:
        return x.swapaxes(1, 2) if "Conv1d" in call.kind else x
    if x.ndim == 4 and "Conv" in call.kind:
        return x.reshape(*x.shape[:2], -1).swapaxes(1, 2)
    if x.ndim == 4:
        # a norm of each head: (batch, positions, heads, width), or the heads before the positions
        given = call.inputs[0] if call.inputs else None
        return None if given is None else x.reshape(*x.shape[:2], -1)
    return None


def masks_of(e: Evidence, parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the masks that lie at hand, each with what a port may make of it."""
    queries, keys = (len(x[0]) for x in (next(iter(parts.values())), list(parts.values())[min(1, len(parts) - 1)]))
    square = np.ones((queries, keys), bool)
    found: dict[str, np.ndarray] = {}
    given: dict[str, np.ndarray] = {}
    for call in e.around:
        for x in call.inputs:
            if x is not None and x.dtype.kind in "fb" and 2 <= x.ndim <= 4 and x.shape[-1] == keys:
                if x.dtype.kind == "f" and not (x.max(initial=0) <= 0 and x.min(initial=0) < -1):
                    continue
                given.setdefault(f"the mask that {call.path or 'the model'} is given", _wide(x, queries))
    count = len(next(iter(parts.values())))
    # what truly is a mask comes before numbers, such as tokens, that are 0 at the same places
    for i, x in sorted(enumerate(e.bound.batch), key=lambda one: not _is_mask(one[1])):
        if x.ndim == 1 and x.dtype.kind in "iu" and len(x) == count and x.min() >= 0 and x.max() <= keys:
            below = np.arange(keys) < x[:, None]
            if below.any(1).all() and not below.all():
                given.setdefault(f"the positions below array {i} of the batch", below[:, None, None, :])
        if x.ndim == 2 and x.shape[1] == keys and x.dtype.kind in "biu" and len(x) == count:
            kept = x.astype(bool)
            if not kept.all() and kept.any():
                given.setdefault(f"array {i} of the batch as a mask of the keys", kept[:, None, None, :])
            elif x.dtype.kind in "iu" and (x == 1).any():
                given.setdefault(f"array {i} of the batch, where it is not 1", (x != 1)[:, None, None, :])
    for name, mask in given.items():
        found[name] = mask
        if mask.dtype.kind == "b":
            found[f"the inverse of {name}"] = ~mask
    causal = np.tril(square)
    found |= {"a causal mask": causal[None, None], "an inverted causal mask": ~causal[None, None],
              "a causal mask without the diagonal": np.tril(square, -1)[None, None],
              "an upper triangular mask": causal.T[None, None] if queries == keys else ~causal[None, None]}  # fmt: skip
    for name, mask in given.items():
        if mask.dtype.kind == "b":
            found[f"{name} and a causal mask"] = mask & causal
            if queries == keys and mask.shape[2] == 1:
                found[f"{name}, of the queries"] = mask.swapaxes(2, 3)
                found[f"{name}, of keys and queries"] = mask & mask.swapaxes(2, 3)
    return found


def _is_mask(x: np.ndarray) -> bool:
    """Say whether an array of the batch is made to mask: it holds nothing but 0 and 1, or the lengths of sequences."""
    return x.ndim == 1 or bool(((x == 0) | (x == 1)).all())


def _wide(mask: np.ndarray, queries: int) -> np.ndarray:
    """Return a mask as (batch, heads, queries, keys)."""
    if mask.ndim == 2:
        return mask[None, None] if len(mask) == queries else mask[:, None, None]
    return mask[:, None] if mask.ndim == 3 else mask


def biases_of(e: Evidence, parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return biases of relative positions: made of the layer's own table and indices, looked up, or handed in."""
    count = next(iter(parts.values())).shape[1]
    tensors = e.under()
    indices = {n: x for n, x in tensors.items() if x.dtype.kind in "iu" and x.size == count * count}
    found: dict[str, np.ndarray] = {}
    for name, table in tensors.items():
        if table.dtype.kind != "f" or table.ndim != 2:
            continue
        for index in indices.values():
            if index.max() < len(table):
                rows = table[index.reshape(-1)]
                found |= _turned(f"the bias of {name}", rows.reshape(count, count, -1).transpose(2, 0, 1)[None])
                found[f"the bias of {name}, its entries split otherwise"] = rows.reshape(1, -1, count, count)
    for call in e.before:
        x = call.output
        # one row of heads for every query and key, as an embedding of relative positions returns it
        if (
            x is not None
            and x.dtype.kind == "f"
            and x.shape in ((count, count, x.shape[-1]), (1, count, count, x.shape[-1]))
        ):
            found |= _turned(f"the bias of {call.path}", np.moveaxis(x.reshape(count, count, -1), -1, 0)[None])
    for call in e.around:
        for x in call.inputs:
            if x is not None and x.dtype.kind == "f" and x.ndim == 4 and x.shape[2:] == (count, count):
                # a mask that was added to it is one of the masks
                kept = np.where(x > DROPPED, x, 0)
                if kept.any():
                    found.setdefault(f"the bias that {call.path or 'the model'} is given", kept)
    return found


def _turned(name: str, bias: np.ndarray) -> dict[str, np.ndarray]:
    """Return a bias, also with queries and keys exchanged."""
    return {name: bias, f"{name}, queries and keys exchanged": bias.swapaxes(2, 3)}


def tables_of(e: Evidence, parts: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return tables of a rotation that the layers around are given: complex numbers, or cosines and sines."""
    count = next(iter(parts.values())).shape[1]
    found = {}
    for call in e.around:
        for x in call.inputs:
            if x is not None and x.dtype.kind == "c" and x.ndim == 2 and len(x) >= count:
                z = x[:count].astype(np.complex128)
                found["the table that torch is given"] = (z.real, z.imag)
    return found
