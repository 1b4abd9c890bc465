"""Messages along the edges of a graph: which way they go, how they are weighted, where they are summed."""

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxgrad.verify.port.diagnosis._catalogue import cause
from jaxgrad.verify.port.diagnosis._evidence import Evidence
from jaxgrad.verify.port.diagnosis._known_functions import ELEMENTWISE
from jaxgrad.verify.port.diagnosis._matcher import Family, Option, match
from jaxgrad.verify.report._records import Cause

__all__ = ["messages", "of_graphs"]

MOST_NODES = 4
"""How many arrays of one row a node are tried, the latest first."""

IDS = {"edges": "edge-order", "loops": "self-loops", "weights": "degree-norm", "over": "reduction-of-messages",
       "vectors": "edge-order", "slope": "negative-slope", "softmax": "segments", "taken": "edge-order",
       "split": "head-order", "join": "pool-kind", "bias": "bias-missing"}  # fmt: skip
"""The cause that a setting stands for."""


FIXES = {"vectors": "Multiply the sources and the targets by the vectors that torch multiplies them by.",
         "taken": "Send what torch sends: x[source].", "join": "Reduce the heads as torch does."}  # fmt: skip
"""What to write, where the words of the catalogue are about another setting."""


def messages(e: Evidence) -> list[Cause]:
    """Explain a layer, or the code before one, that sums what arrives at each node over the edges."""
    if e.want.shape != e.got.shape or e.want.ndim != 2:
        return []
    for (edges, nodes), bias in itertools.product(_graphs(e), (None, *_vectors(e, e.want.shape[1]))):
        for family in _families(edges, nodes, bias, e):
            found = match(family, e.want, e.got)
            if found:
                return [
                    cause(IDS[c.setting], f"JAX has {c.ours.words}, torch {c.theirs.words}.", FIXES.get(c.setting, ""),
                          e.first.path, proven=True) for c in found
                ]  # fmt: skip
    return []


def of_graphs(e: Evidence) -> list[Cause]:
    """Explain rows that are reduced over the nodes of each graph, whose number every node carries."""
    if e.want.shape != e.got.shape or e.want.ndim != 2:
        return []
    count, width = e.want.shape
    owners = [x for x in _given(e) if x.dtype.kind in "iu" and x.ndim == 1 and len(x) > count]
    for call, owner in itertools.product(e.before[::-1][:MOST_NODES], owners):
        x = call.output
        if x is None or x.shape != (len(owner), width) or not 0 <= owner.min() <= owner.max() < count:
            continue
        # a graph takes what its nodes send: as if it were one of them, with an edge from each
        ends = np.stack([np.arange(len(owner)), owner])

        def reduced(over: str, x: np.ndarray = x, ends: np.ndarray = ends) -> np.ndarray:
            return _plain(ends, x, None, edges=False, loops=False, weights="", bias=False, over=over)[:count]

        options = tuple(Option(o, f"the {o} over the nodes of each graph") for o in REDUCTIONS)
        found = match(Family(reduced, {"over": options}), e.want, e.got)
        if found:
            text = f"JAX takes {found[0].ours.words}, torch {found[0].theirs.words}."
            return [cause("pool-kind", text, f"Take {found[0].theirs.words}.", e.first.path, proven=True)]
    return []


REDUCTIONS = ("sum", "mean", "maximum", "minimum")


def _given(e: Evidence) -> list[np.ndarray]:
    """Return what the layers around are given, and the batch."""
    return [x for call in e.around for x in call.inputs if x is not None] + list(e.bound.batch)


def _graphs(e: Evidence) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield lists of edges, as sources over targets, with arrays that have a row for each node."""
    count = len(e.want)
    whole = [x for x in _given(e) if x.dtype.kind in "iu" and x.size and 0 <= x.min() <= x.max() < count]
    lists = [x if x.shape[0] == 2 else x.T for x in whole if x.ndim == 2 and min(x.shape) == 2 < max(x.shape)]
    flat = [x for x in whole if x.ndim == 1]
    lists += [np.stack(two) for two in itertools.combinations(flat, 2) if len(two[0]) == len(two[1])]
    rows = [call.output for call in e.before[::-1]] + [x for call in e.around for x in call.inputs]
    nodes = [x for x in rows if x is not None and x.dtype.kind == "f" and x.ndim == 2 and len(x) == count]
    yield from itertools.product(lists[:2], nodes[:MOST_NODES])


def _vectors(e: Evidence, size: int) -> list[np.ndarray]:
    """Return the layer's own vectors of a size."""
    return [w.reshape(-1) for w in e.under().values() if w.dtype.kind == "f" and w.size == size == max(w.shape)]


def _families(edges: np.ndarray, nodes: np.ndarray, bias: np.ndarray | None, e: Evidence) -> Iterator[Family]:
    """Yield plain sums over neighbours first, then those that attention weights."""
    shared = {
        "edges": (Option(False, "messages from source to target"), Option(True, "messages from target to source")),
        "loops": (Option(False, "no loops added"), Option(True, "a loop added to each node")),
        "bias": tuple(Option(b, w) for b, w in ((True, "the bias"), (False, "no bias")) if bias is not None or not b),
    }  # fmt: skip
    if nodes.shape[1] == e.want.shape[1]:
        plain = {
            "over": tuple(Option(o, f"the {o} over what arrives") for o in REDUCTIONS),
            "weights": (Option("", "messages as they are"), Option("both", "messages over the roots of both degrees"),
                        Option("target", "messages over the degree of the target"),
                        Option("source", "messages over the degree of the source")),
        }  # fmt: skip
        compute = functools.partial(_plain, edges, nodes, bias)
        yield Family(compute, {**shared, **plain}, ("loops", "over", "weights"))
    parameters = [w for w in e.under().values() if w.dtype.kind == "f" and w.size == nodes.shape[1] and w.ndim > 1]
    for a, b in itertools.combinations(parameters, 2):
        heads = a.shape[-2] if a.shape[-1] * a.shape[-2] == nodes.shape[1] else 1
        attention = {
            "vectors": (Option(False, "the vectors of source and target as torch has them"),
                        Option(True, "the vectors of source and target exchanged")),
            "slope": tuple(Option(s, f"a leaky relu of {s:g}") for s in (0.2, 0.01, 0.1, 0.0, 1.0, 0.3)),
            "softmax": (Option("target", "a softmax over the edges that end in a node"),
                        Option("source", "a softmax over the edges that leave a node"),
                        Option("all", "a softmax over all edges"), Option("", "no softmax")),
            "taken": (Option("source", "the values of the source"), Option("target", "the values of the target")),
            "split": (Option(False, "the width split as (heads, width of a head)"),
                      Option(True, "the width split as (width of a head, heads)")),
            "join": (Option("side", "heads joined side by side"), Option("mean", "the mean of the heads"),
                     Option("sum", "the sum of the heads")),
        }  # fmt: skip
        compute = functools.partial(_attention, edges, nodes, bias, a.reshape(heads, -1), b.reshape(heads, -1))
        yield Family(compute, {**attention, **shared}, ("vectors", "join", "slope"))


def _ends(edges: np.ndarray, count: int, s: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the sources and the targets of the messages."""
    source, target = edges[::-1] if s["edges"] else edges
    if s["loops"]:
        every = np.arange(count)
        return np.concatenate([source, every]), np.concatenate([target, every])
    return source, target


def _plain(edges: np.ndarray, nodes: np.ndarray, bias: np.ndarray | None, /, **s: Any) -> np.ndarray:
    """Reduce what arrives at each node."""
    source, target = _ends(edges, len(nodes), s)
    degree = {"source": np.bincount(source, minlength=len(nodes)), "target": np.bincount(target, minlength=len(nodes))}
    sent = nodes[source]
    if s["weights"] == "both":
        sent = sent / np.sqrt(degree["target"][source] * degree["target"][target])[:, None]
    elif s["weights"]:
        ends = source if s["weights"] == "source" else target
        sent = sent / degree[s["weights"]][ends][:, None]
    if s["over"] in ("maximum", "minimum"):
        sign = 1 if s["over"] == "maximum" else -1
        made = np.full(nodes.shape, -np.inf)
        np.maximum.at(made, target, sign * sent)
        made = sign * np.where(np.isfinite(made), made, 0)
    else:
        made = _summed(sent, target, len(nodes))
        made = made / np.maximum(degree["target"], 1)[:, None] if s["over"] == "mean" else made
    return made + bias if bias is not None and s["bias"] else made


def _attention(
    edges: np.ndarray, nodes: np.ndarray, bias: np.ndarray | None, a: np.ndarray, b: np.ndarray, /, **s: Any
) -> np.ndarray:
    """Sum what arrives at each node, weighted by a softmax of what source and target say."""
    source, target = _ends(edges, len(nodes), s)
    heads, width = a.shape
    x = nodes.reshape(-1, width, heads).swapaxes(1, 2) if s["split"] else nodes.reshape(-1, heads, width)
    a, b = (b, a) if s["vectors"] else (a, b)
    scores = (x * a).sum(-1)[source] + (x * b).sum(-1)[target]
    weights = np.exp(ELEMENTWISE["relu"](scores) - s["slope"] * ELEMENTWISE["relu"](-scores))
    over = {"target": target, "source": source, "all": np.zeros_like(target)}.get(s["softmax"])
    if over is not None:
        weights = weights / _summed(weights, over, len(nodes))[over]
    elif not s["softmax"]:
        # what a softmax subtracts for safety stays where nothing is divided by
        top = np.full((len(nodes), heads), -np.inf)
        np.maximum.at(top, target, np.log(weights))
        weights = weights / np.exp(top)[target]
    taken = x[source if s["taken"] == "source" else target]
    made = _summed(taken * weights[..., None], target, len(nodes))
    made = {"side": lambda: made.reshape(len(nodes), -1), "mean": lambda: made.mean(1), "sum": lambda: made.sum(1)}[
        s["join"]
    ]()
    return made + bias if bias is not None and s["bias"] else made


def _summed(sent: np.ndarray, ends: np.ndarray, count: int) -> np.ndarray:
    """Add up what is sent to each of the ends."""
    made = np.zeros((count, *sent.shape[1:]))
    np.add.at(made, ends, sent)
    return made
