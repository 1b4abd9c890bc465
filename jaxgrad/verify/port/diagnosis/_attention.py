"""Attention, whoever wrote it: softmax(s q k^T + mask) v is found with the settings that either side has."""

import dataclasses
import functools
import itertools
import re
from typing import Any

import numpy as np

from jaxgrad.verify.judge._tolerances import RECOGNISED, RECOGNISED_TABLE
from jaxgrad.verify.port.diagnosis._catalogue import cause
from jaxgrad.verify.port.diagnosis._evidence import Evidence, proven
from jaxgrad.verify.port.diagnosis._known_functions import same
from jaxgrad.verify.port.diagnosis._matcher import Change, Family, Option, match
from jaxgrad.verify.port.tracing._record_torch import Call
from jaxgrad.verify.report._records import Cause

__all__ = ["attention_between", "attention_layer", "pooled_attention"]

MOST_QUERIES = 12
"""How many queries are computed while the settings are searched; the whole array is computed with those found."""

MOST_HEADS = 64

LATEST = 6
"""How many arrays that may be the values are tried, the latest first."""

NAMES = {"q": r"(^|_|\d|to)(q|query|queries|theta)(_|\d|$|proj|lin)|^q|^query|^wq$",
         "k": r"(^|_|\d|to)(k|key|keys|phi)(_|\d|$|proj|lin)|^k|^key|^wk$",
         "v": r"(^|_|\d|to)(v|value|values|g)(_|\d|$|proj|lin)|^v|^value|^wv$"}  # fmt: skip
"""How the projections are called."""


@dataclasses.dataclass
class _Problem:
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

    def narrowed(self, example: int, rows: np.ndarray) -> "_Problem":
        """Return the problem of one example and a few queries."""

        def one(x: np.ndarray, size: int) -> np.ndarray:
            # windows of several images share their masks
            return x[example % len(x)][None] if len(x) > 1 and size % len(x) == 0 else x

        size = len(next(iter(self.parts.values())))
        parts = {n: x[example : example + 1] for n, x in self.parts.items()}
        masks = {n: one(x, size) if x.ndim == 4 else x for n, x in self.masks.items()}
        return dataclasses.replace(self, parts=parts, masks=masks, rows=rows)


def attention_layer(e: Evidence) -> list[Cause]:
    """Explain a layer that is torch's own attention: its projections are computed here."""
    weight, bias, out = e.weight("in_proj_weight"), e.weight("in_proj_bias"), e.weight("out_proj.weight")
    tail = e.weight("out_proj.bias")
    if weight is None or out is None or e.inputs[0].ndim != 3:
        return []
    first = bool(e.torch.get("batch_first", False))
    given = [x if first else x.swapaxes(0, 1) for x in (e.inputs + e.inputs[:1] * 3)[:3]]
    biases = np.split(bias, 3) if bias is not None else [0.0] * 3
    packed = [x @ w.T + b for x, w, b in zip(given, np.split(weight, 3), biases, strict=True)]
    if tail is not None and same(e.got, e.want - tail):
        return proven(e, "bias-missing", "JAX leaves the bias of the output projection out.", "Set use_bias=True.")
    want, got = (x if first else x.swapaxes(0, 1) for x in (e.want, e.got))

    def finish(mixed: np.ndarray) -> np.ndarray:
        return mixed @ out.T + (0.0 if tail is None else tail)

    parts = dict(zip("qkv", packed, strict=True))
    problem = _Problem(parts, _masks(e, parts), {}, {}, np.arange(packed[0].shape[1]), finish)
    return _explain(e, problem, want, got, e.torch.get("num_heads"))


def attention_between(e: Evidence) -> list[Cause]:
    """Explain code between the projections of queries, keys and values and what takes their mixture."""
    if e.want.shape != e.got.shape or e.want.ndim not in (3, 4):
        return []
    want, got = (x.reshape(len(x), -1, x.shape[-1]) for x in (e.want, e.got))
    for parts in _projections(e, want.shape):
        tables = _tables(e, parts)
        problem = _Problem(parts, _masks(e, parts), _biases(e, parts), tables, np.arange(want.shape[1]))
        found = _explain(e, problem, want, got, None)
        if found:
            return found
    return []


def pooled_attention(e: Evidence) -> list[Cause]:
    """Explain a mixture of values by one row of scores, as additive attention and attention pooling have it."""
    want, got = (x.reshape(len(x), x.shape[-1]) if x.size == len(x) * x.shape[-1] else x for x in (e.want, e.got))
    if want.ndim != 2:
        return []
    held = [x for c in e.before[::-1] if (x := c.output) is not None and x.dtype.kind == "f" and len(x) == len(want)]
    values = [x for x in held if x.ndim == 3 and x.shape[2] == want.shape[1]][:LATEST]
    for scores, value in itertools.product([x for x in held if x.size == x.shape[0] * x.shape[1]], values):
        flat = scores.reshape(len(scores), -1)
        if flat.shape != value.shape[:2] or flat.shape[1] < 2:
            continue
        masks = {n: m[:, 0, 0] for n, m in _masks(e, {"q": value, "k": value}).items()
                 if m.dtype.kind == "b" and m.shape[1:3] == (1, 1) and len(m) == len(want)}  # fmt: skip
        scales = (1.0, flat.shape[1] ** -0.5, value.shape[2] ** -0.5, 0.0, 2.0, 0.5)
        settings = {"mask": (Option(None, "no mask"), *(Option(n, n) for n in masks)),
                    "scale": tuple(Option(s, f"scores times {s:.4g}") for s in scales),
                    "axis": (Option(1, "a softmax over positions"), Option(0, "a softmax over the batch"))}  # fmt: skip

        def mix(mask: str | None, scale: float, axis: int, s: np.ndarray = flat, v: np.ndarray = value,
                masks: dict[str, np.ndarray] = masks) -> np.ndarray:  # fmt: skip
            s = scale * s if mask is None else np.where(masks[mask], scale * s, -np.inf)
            weights = np.exp(s - s.max(axis, keepdims=True))
            return ((weights / weights.sum(axis, keepdims=True))[:, None] @ v)[:, 0]

        found = match(Family(mix, settings), want, got)
        if found:
            return [
                cause(IDS[c.setting], f"JAX's attention has {c.ours.words}, torch's {c.theirs.words}.", "",
                      e.first.path, proven=True) for c in found
            ]  # fmt: skip
    return []


def _projections(e: Evidence, shape: tuple[int, ...]) -> list[dict[str, np.ndarray]]:
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


def _masks(e: Evidence, parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the masks that lie at hand, each with what a port may make of it."""
    queries, keys = (len(x[0]) for x in (next(iter(parts.values())), list(parts.values())[min(1, len(parts) - 1)]))
    square = np.ones((queries, keys), bool)
    found: dict[str, np.ndarray] = {}
    given: dict[str, np.ndarray] = {}
    for call in e.around:
        for i, x in enumerate(call.inputs):
            if x is not None and x.dtype.kind in "fb" and 2 <= x.ndim <= 4 and x.shape[-1] == keys:
                if x.dtype.kind == "f" and not (x.max(initial=0) <= 0 and x.min(initial=0) < -1):
                    continue
                given.setdefault(f"the mask that {call.path or 'the model'} is given", _wide(x, queries))
                del i
    for i, x in enumerate(e.bound.batch):
        if x.ndim == 2 and x.shape[1] == keys and x.dtype.kind in "biu" and len(x) == len(next(iter(parts.values()))):
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


def _wide(mask: np.ndarray, queries: int) -> np.ndarray:
    """Return a mask as (batch, heads, queries, keys)."""
    if mask.ndim == 2:
        return mask[None, None] if len(mask) == queries else mask[:, None, None]
    return mask[:, None] if mask.ndim == 3 else mask


def _biases(e: Evidence, parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return biases of relative positions that the layer's own table and indices make."""
    first = next(iter(parts.values()))
    count = first.shape[1]
    tensors = e.under()
    indices = {n: x for n, x in tensors.items() if x.dtype.kind in "iu" and x.size == count * count}
    found = {}
    for name, table in tensors.items():
        if table.dtype.kind != "f" or table.ndim != 2:
            continue
        for index in indices.values():
            if index.max() < len(table):
                bias = table[index.reshape(-1)].reshape(count, count, -1).transpose(2, 0, 1)[None]
                found[f"the bias of {name}"] = bias
                found[f"the bias of {name}, queries and keys exchanged"] = bias.swapaxes(2, 3)
                found[f"the bias of {name}, its entries split otherwise"] = table[index.reshape(-1)].reshape(
                    1, -1, count, count
                )
    return found


def _tables(e: Evidence, parts: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return tables of a rotation that the layers around are given: complex numbers, or cosines and sines."""
    count = next(iter(parts.values())).shape[1]
    found = {}
    for call in e.around:
        for x in call.inputs:
            if x is not None and x.dtype.kind == "c" and x.ndim == 2 and len(x) >= count:
                z = x[:count].astype(np.complex128)
                found["the table that torch is given"] = (z.real, z.imag)
    return found


def _explain(e: Evidence, problem: _Problem, want: np.ndarray, got: np.ndarray, heads: int | None) -> list[Cause]:
    """Find the settings of both sides on one example, and prove them on all."""
    example = int(np.argmax([np.abs(g - w).max() for g, w in zip(got, want, strict=True)]))
    worst = np.argsort(-np.abs(got[example] - want[example]).max(-1))[: MOST_QUERIES // 2]
    spread = np.linspace(0, want.shape[1] - 1, MOST_QUERIES // 2).astype(int)
    rows = np.unique(np.concatenate([worst, spread]))
    small = problem.narrowed(example, rows)
    for family in _families(small, heads):
        found = match(family, want[example : example + 1, rows], got[example : example + 1, rows])
        if found:
            return [_named(e, problem, change, want, got) for change in found]
    return []


def _families(problem: _Problem, heads: int | None) -> list[Family]:
    """Return the families: without a rotation first, for it costs the most to search."""
    whole = problem.parts.get("qkv")
    q = whole if whole is not None else problem.parts["q"]
    width, kv = (q.shape[-1] // 3,) * 2 if whole is not None else (q.shape[-1], problem.parts["k"].shape[-1])
    counts = [h for h in range(1, min(width, MOST_HEADS) + 1) if width % h == 0 and kv % (width // h) == 0]
    if heads in counts:
        counts.remove(heads)
        counts.insert(0, heads)
    else:
        counts.sort(key=lambda h: abs(width // h - 32) if width >= 64 else abs(h - 4))
    common: dict[str, tuple[Option, ...]] = {
        "heads": tuple(Option(h, f"{h} heads") for h in counts),
        "mask": (Option(None, "no mask"), *(Option(n, n) for n in problem.masks)),
        "scale": tuple(Option(*o) for o in (
            ("root", "scores divided by the root of a head's width"), ("none", "unscaled scores"),
            ("width", "scores divided by the root of the whole width"), ("head", "scores divided by a head's width"),
            ("fourth", "scores divided by the fourth root of a head's width"),
            ("twice", "scores multiplied by the root of a head's width"))),
        "bias": (Option(None, "no bias of the scores"), *(Option(n, n) for n in problem.biases)),
        "repeat": (Option("each", "each head repeated next to itself"), Option("tile", "all heads one after another"))
        if kv != width else (Option("each", "heads as they are"),),
        "value": tuple(Option(v, f"{v:g} for masked scores") for v in
                       (-np.inf, -1.0, -10.0, -20.0, -50.0, -100.0, -1000.0, 0.0, -1e4)),
        "axis": (Option(-1, "a softmax over the keys"), Option(-2, "a softmax over the queries"),
                 Option(1, "a softmax over the heads"), Option(None, "no softmax")),
        "split": (Option("heads", "the width split as (heads, width of a head)"),
                  Option("widths", "the width split as (width of a head, heads)"),
                  Option("q widths", "that of the queries split as (width of a head, heads)"),
                  Option("kv widths", "that of the keys and values split as (width of a head, heads)"),
                  Option("before", "the heads split off before the positions")),
        "join": (Option("heads", "heads joined side by side"), Option("widths", "heads joined entry by entry"),
                 Option("before", "heads joined before the positions")),
        "order": tuple(Option(o, f"{', '.join(o)} in this order")
                       for o in map("".join, itertools.permutations("qkv"))),
        "packed": (Option("whole", "q, k and v one after another"), Option("head", "q, k and v of each head together"),
                   Option("entry", "q, k and v entry by entry")) if whole is not None
        else (Option("apart", "projections of their own"),),
        "norm": (Option(None, "queries and keys as they are"), Option("l2", "queries and keys normalised"),
                 Option("transposed", "attention between channels")),
    }  # fmt: skip
    rope: dict[str, tuple[Option, ...]] = {
        "layout": (Option("pairs", "the rotation of interleaved pairs"), Option("halves", "the rotation of halves")),
        "base": (*(Option(n, n) for n in problem.tables),
                 *(Option(b, f"base {b:g}") for b in (1e4, 5e5, 1e6, 1e3, 1e2, 1e5))),
        "offset": tuple(Option(o, f"positions from {o}") for o in (0, 1, -1, 2)),
        "sign": (Option(1, "a rotation by +angle"), Option(-1, "a rotation by -angle")),
        "turned": (Option("qk", "rotated queries and keys"), Option("q", "rotated queries only"),
                   Option("k", "rotated keys only"), Option("qkv", "rotated queries, keys and values"),
                   Option("", "no rotation")),
    }  # fmt: skip
    still = {name: (options[0],) for name, options in rope.items()} | {"turned": (Option("", "no rotation"),)}
    run = functools.partial(_attend, problem)
    core = ("heads", "mask", "bias", "packed")
    table = RECOGNISED_TABLE
    return [
        Family(run, {**common, **still}, (*core, "scale")),
        Family(run, {**common, **rope}, ("heads", "mask", "base", "layout"), table),
    ]


def _attend(problem: _Problem, **s: Any) -> np.ndarray | None:
    """Compute attention with settings."""
    parts, heads = _split_parts(problem.parts, s["order"], s["packed"], s["heads"])
    q, k, v = parts
    d = q.shape[-1] // heads
    rows = problem.rows
    if s["axis"] in (-2,) or s["join"] == "before" or s["split"] == "before":
        rows = np.arange(q.shape[1])

    def split(x: np.ndarray, part: str) -> np.ndarray:
        count = x.shape[-1] // d
        if s["split"] == "before":
            return x.reshape(len(x), count, -1, d)
        if (
            s["split"] == "widths"
            or (s["split"] == "q widths" and part == "q")
            or (s["split"] == "kv widths" and part != "q")
        ):
            return x.reshape(*x.shape[:2], d, count).transpose(0, 3, 1, 2)
        return x.reshape(*x.shape[:2], count, d).swapaxes(1, 2)

    q, k, v = split(q, "q"), split(k, "k"), split(v, "v")
    if s["turned"]:
        q, k, v = (
            _rotate(problem, x, s) if part in s["turned"] else x for part, x in zip("qkv", (q, k, v), strict=True)
        )
    if k.shape[1] != heads:
        times = heads // k.shape[1]
        k, v = (np.repeat(x, times, 1) if s["repeat"] == "each" else np.tile(x, (1, times, 1, 1)) for x in (k, v))
    if s["norm"] == "l2":
        q, k = (x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), RECOGNISED) for x in (q, k))
    if s["norm"] == "transposed":
        return None
    scale = {"root": d**-0.5, "none": 1.0, "width": (heads * d) ** -0.5, "head": 1 / d, "fourth": d**-0.25,
             "twice": d**0.5}[s["scale"]]  # fmt: skip
    scores = scale * (q[:, :, rows] @ k.swapaxes(-1, -2))
    if s["bias"] is not None:
        scores = scores + problem.biases[s["bias"]][:, :, rows]
    scores = _masked(scores, None if s["mask"] is None else problem.masks[s["mask"]], s["value"], rows)
    if s["axis"] is None:
        weights = scores
    else:
        top = scores.max(s["axis"], keepdims=True)
        weights = np.exp(scores - np.where(np.isfinite(top), top, 0))
        weights = weights / weights.sum(s["axis"], keepdims=True)
    mixed = weights @ v
    made = {"heads": lambda: mixed.swapaxes(1, 2), "widths": lambda: mixed.transpose(0, 2, 3, 1),
            "before": lambda: mixed}[s["join"]]()  # fmt: skip
    made = made.reshape(len(mixed), len(rows), -1)
    made = made if len(rows) == len(problem.rows) else made[:, problem.rows]
    return made if problem.finish is None else problem.finish(made)


def _split_parts(
    parts: dict[str, np.ndarray], order: str, packed: str, heads: int
) -> tuple[tuple[np.ndarray, ...], int]:
    """Return queries, keys and values of what the projections hold."""
    if "qkv" not in parts:
        return tuple(parts[name] for name in order), heads
    x = parts["qkv"]
    width = x.shape[-1] // 3
    d = width // heads
    if packed == "whole":
        held = np.split(x, 3, -1)
    elif packed == "head":
        apart = x.reshape(*x.shape[:2], heads, 3, d)
        held = [apart[..., i, :].reshape(*x.shape[:2], width) for i in range(3)]
    else:
        held = [x[..., i::3] for i in range(3)]
    return tuple(held["qkv".index(name)] for name in order), heads


def _masked(scores: np.ndarray, mask: np.ndarray | None, value: float, rows: np.ndarray) -> np.ndarray:
    """Return scores with a mask: a value in place of what is dropped, or something added."""
    if mask is None:
        return scores
    if mask.shape[2] > 1:
        mask = mask[:, :, rows]
    if len(mask) > 1 and len(scores) % len(mask) == 0 and len(scores) != len(mask):
        # windows of several images share their masks
        mask = np.tile(mask, (len(scores) // len(mask), 1, 1, 1))
    if mask.dtype.kind == "f":
        if np.isneginf(value):
            return scores + mask
        mask = mask > -1
    # a query that nothing is left for mixes everything alike
    value = np.finfo(np.float64).min if np.isneginf(value) else value
    return np.where(mask, scores, value)


def _rotate(problem: _Problem, x: np.ndarray, s: dict[str, Any]) -> np.ndarray:
    """Turn pairs of entries by an angle that grows with the position."""
    count, d = x.shape[2], x.shape[3]
    if isinstance(s["base"], str):
        cos, sin = problem.tables[s["base"]]
    else:
        angle = np.outer(np.arange(count) + s["offset"], s["base"] ** (-np.arange(0, d, 2) / d))
        cos, sin = np.cos(angle), np.sin(angle)
    sin = s["sign"] * sin
    a, b = (x[..., : d // 2], x[..., d // 2 :]) if s["layout"] == "halves" else (x[..., ::2], x[..., 1::2])
    turned = a * cos - b * sin, a * sin + b * cos
    return np.concatenate(turned, -1) if s["layout"] == "halves" else np.stack(turned, -1).reshape(x.shape)


IDS = {"heads": "heads", "mask": "mask", "scale": "attention-scale", "bias": "attention-bias", "repeat": "kv-repeat",
       "value": "mask-value", "axis": "softmax-axis", "split": "head-order", "join": "head-order",
       "order": "qkv-order", "packed": "qkv-order", "norm": "qk-norm", "layout": "rotary-layout", "base": "rotary-base",
       "offset": "rotary-offset", "sign": "rotary-sign", "turned": "rotary-missing"}  # fmt: skip
"""The cause that a setting stands for."""


def _named(e: Evidence, problem: _Problem, change: Change, want: np.ndarray, got: np.ndarray) -> Cause:
    """Return the cause of one setting that differs."""
    del problem, want, got
    text = f"JAX's attention has {change.ours.words}, torch's {change.theirs.words}."
    return cause(IDS[change.setting], text, "", e.first.path, proven=True)
