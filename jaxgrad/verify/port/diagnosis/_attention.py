"""Attention, whoever wrote it: softmax(s q k^T + mask) v is found with the settings that either side has."""

import dataclasses
import functools
import itertools

import numpy as np

from jaxgrad.verify.judge._tolerances import RECOGNISED_TABLE
from jaxgrad.verify.port.diagnosis._attend import attend
from jaxgrad.verify.port.diagnosis._attention_parts import Problem, biases_of, masks_of, projections, tables_of
from jaxgrad.verify.port.diagnosis._catalogue import cause
from jaxgrad.verify.port.diagnosis._evidence import Evidence, proven
from jaxgrad.verify.port.diagnosis._known_functions import same
from jaxgrad.verify.port.diagnosis._matcher import Change, Family, Option, changes, fitted, match
from jaxgrad.verify.report._records import Cause

__all__ = ["attention_between", "attention_layer", "pooled_attention"]

MOST_QUERIES = 12
"""How many queries are computed while the settings are searched; the whole array is computed with those found."""

MOST_HEADS = 64

LATEST = 6
"""How many arrays that may be the values are tried, the latest first."""


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
    problem = Problem(parts, masks_of(e, parts), {}, {}, np.arange(packed[0].shape[1]), finish)
    return _explain(e, problem, want, got, e.torch.get("num_heads"))


def attention_between(e: Evidence) -> list[Cause]:
    """Explain code between the projections of queries, keys and values and what takes their mixture."""
    if e.want.shape != e.got.shape or e.want.ndim not in (3, 4):
        return []
    want, got = (x.reshape(len(x), -1, x.shape[-1]) for x in (e.want, e.got))
    for parts in projections(e, want.shape):
        tables = tables_of(e, parts)
        problem = Problem(parts, masks_of(e, parts), biases_of(e, parts), tables, np.arange(want.shape[1]))
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
        masks = {n: m[:, 0, 0] for n, m in masks_of(e, {"q": value, "k": value}).items()
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


def _explain(e: Evidence, problem: Problem, want: np.ndarray, got: np.ndarray, heads: int | None) -> list[Cause]:
    """Find the settings of both sides on one example, and prove them on all."""
    example = int(np.argmax([np.abs(g - w).max() for g, w in zip(got, want, strict=True)]))
    worst = np.argsort(-np.abs(got[example] - want[example]).max(-1))[: MOST_QUERIES // 2]
    spread = np.linspace(0, want.shape[1] - 1, MOST_QUERIES // 2).astype(int)
    rows = np.unique(np.concatenate([worst, spread]))
    small = problem.narrowed(example, rows)
    for family in _families(small, heads):
        both = fitted(family, want[example : example + 1, rows], got[example : example + 1, rows])
        if both is not None and (found := changes(*both)):
            whole = dataclasses.replace(family, compute=functools.partial(attend, problem))
            made = [whole.attempt(chosen) for chosen in both]
            sure = all(x is not None and same(x, y, family.tolerance) for x, y in zip(made, (want, got), strict=True))
            return [_named(e, change, sure=sure) for change in found]
    return []


def _families(problem: Problem, heads: int | None) -> list[Family]:
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
        "bias": (Option(None, "no bias of the scores"), *(Option(n, n) for n in problem.biases)),
        "mask": (Option(None, "no mask"), *(Option(n, n) for n in problem.masks)),
        "scale": tuple(Option(*o) for o in (
            ("root", "scores divided by the root of a head's width"), ("none", "unscaled scores"),
            ("width", "scores divided by the root of the whole width"), ("head", "scores divided by a head's width"),
            ("fourth", "scores divided by the fourth root of a head's width"),
            ("twice", "scores multiplied by the root of a head's width"))),
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
    run = functools.partial(attend, problem)
    core = ("heads", "mask", "bias", "packed")
    table = RECOGNISED_TABLE
    return [
        Family(run, {**common, **still}, (*core, "scale")),
        Family(run, {**common, **rope}, ("heads", "mask", "base", "layout"), table),
    ]


IDS = {"heads": "heads", "mask": "mask", "scale": "attention-scale", "bias": "attention-bias", "repeat": "kv-repeat",
       "value": "mask-value", "axis": "softmax-axis", "split": "head-order", "join": "head-order",
       "order": "qkv-order", "packed": "qkv-order", "norm": "qk-norm", "layout": "rotary-layout", "base": "rotary-base",
       "offset": "rotary-offset", "sign": "rotary-sign", "turned": "rotary-missing"}  # fmt: skip
"""The cause that a setting stands for."""


def _named(e: Evidence, change: Change, *, sure: bool) -> Cause:
    """Return the cause of one setting that differs."""
    text = f"JAX's attention has {change.ours.words}, torch's {change.theirs.words}."
    return cause(IDS[change.setting], text, "", e.first.path, proven=sure)
