"""The assignment of torch's layers to those of JAX, one to one: as many as fit, at the least cost."""

import dataclasses
import re

import numpy as np
from scipy.optimize import linear_sum_assignment

from jaxgrad.models._convert import Fit, convert
from jaxgrad.models._facts import JaxFacts, TorchFacts
from jaxgrad.models._groups import Unit
from jaxgrad.models._link import Link
from jaxgrad.models._names import likeness, words

__all__ = ["Match", "assign"]

NEVER = 1e6
"""The cost of two layers that do not fit."""
SPARE, STRANGE, ORDER, NAME, SAME_NAME = 3.0, 0.5, 0.6, 8.0, 20.0
"""What a tensor left over, a leaf of an unknown name and a place in the order of execution cost, and what a name that
is alike, or the same, is worth."""


@dataclasses.dataclass(frozen=True)
class Match:
    """A torch layer, a JAX layer, and how the one fills the other."""

    torch: str
    jax: str
    links: tuple[Link, ...]
    doubts: dict[str, str]
    """For leaves whose place shapes do not prove, why."""
    rivals: tuple[str, ...] = ()
    """JAX layers of the same shapes that names do not rule out."""
    several: bool = False
    """Whether layers of other names have the same shapes, and the two names are not the same."""
    by_count: bool = False
    """Whether at least the numbers in both names, taken by their order, speak for it."""


def assign(
    theirs: list[Unit],
    ours: list[Unit],
    torch: TorchFacts,
    jax: JaxFacts,
    pinned: dict[str, str],
    orders: dict[str, bool],
    *,
    certain: bool,
) -> list[tuple[Match, Fit]]:
    """Pair layers one to one: as many as fit, at the least cost."""
    if not theirs or not ours:
        return []
    # 1. what every pair of layers would cost; a pair whose weights cannot be laid out in one another stays at NEVER,
    # which is larger than any sum of the rest, so that the assignment takes as many pairs as fit before it counts cost
    fits: dict[tuple[int, int], Fit] = {}
    cost = np.full((len(theirs), len(ours)), NEVER)
    sure, weak = np.full_like(cost, -np.inf), np.full_like(cost, -np.inf)
    for i, t in enumerate(theirs):
        for k, j in enumerate(ours):
            given = pinned.get(t.path)
            fit = convert(t, j, orders) if given is None or j.path in (given, f"{given}/cell") else None
            if fit is None:
                continue
            fits[i, k] = fit
            # a class in a name is a word of it
            sure[i, k], weak[i, k] = (alike - _clash(t, j) / NAME for alike in likeness(t.tokens, j.tokens))
            cost[i, k] = SPARE * fit.spare + STRANGE * fit.strange - NAME * weak[i, k]
            # of names that are numbers alone, the same ones may mean other places
            same = words(t.path) == words(j.path) and (sure[i, k] > 0 or not t.tokens)
            cost[i, k] -= SAME_NAME * same
            cost[i, k] += STRANGE * (t.loose != j.loose)
    # 2. where both sides were seen to run, the place in the order decides among layers whose names say nothing
    if torch.order and jax.order:
        _add_order(cost, theirs, ours, torch.order, jax.order)
    found = []
    # 3. the assignment of least cost (Jonker and Volgenant), without the pairs that do not fit
    pairs = [(i, k) for i, k in zip(*linear_sum_assignment(cost), strict=True) if (i, k) in fits]
    for i, k in pairs:
        t, j, fit = theirs[i], ours[k], fits[i, k]
        # 4. lone tensors are paired last, and only with half of the name in common or where no other has their shape
        if certain and not (weak[i, k] >= 0.5 or (np.sum(cost[i] < NEVER) == np.sum(cost[:, k] < NEVER) == 1)):
            continue
        # 5. what else the layer might be: told to the user, who has to decide where names do not
        rivals, by_count = _rivals(i, k, pairs, sure, weak)
        if t.path in pinned:
            rivals = []
        names = tuple(ours[r].path for r in rivals)
        # the pair counts once in its row and once in its column: 2 in all is one candidate on either side
        alone = (cost[i] < NEVER).sum() + (cost[:, k] < NEVER).sum() <= 2
        told = words(t.path) == words(j.path) or (sure[i, k] >= CLEAR and not rivals)
        several = not alone and not told
        found.append((Match(t.path, j.path, fit.links, fit.doubts, names, bool(several), by_count), fit))
    return found


CLEAR = 0.8
"""Names that have so much in common, and more than with any other layer's, leave no doubt: four words of five."""

SAME = 2.0**-20
"""Names whose likeness differs by less are alike: the scores are sums of a few parts of one."""


def _rivals(i: int, k: int, pairs: list[tuple[int, int]], sure: np.ndarray, weak: np.ndarray) -> tuple[list[int], bool]:
    """Return the columns that row ``i`` could have as well, and whether numbers tell them apart."""
    owner = {column: row for row, column in pairs}
    rivals, counted = [], True
    for other in map(int, np.nonzero(np.isfinite(sure[i]))[0]):
        row = owner.get(other)
        if other == k or (row is not None and not np.isfinite(sure[row, k])):
            continue
        kept, swapped = sure[i, k], sure[i, other]
        kept_weak, swapped_weak = weak[i, k], weak[i, other]
        if row is not None:
            kept, swapped = kept + sure[row, other], swapped + sure[row, k]
            kept_weak, swapped_weak = kept_weak + weak[row, other], swapped_weak + weak[row, k]
        if kept > swapped + SAME:
            continue
        rivals.append(other)
        counted = counted and kept_weak > swapped_weak + SAME and kept > swapped - SAME
    # a layer that has no partner could take this place too
    for other in map(int, np.nonzero(np.isfinite(sure[:, k]))[0]):
        if other not in owner.values() and other != i and sure[other, k] >= sure[i, k] - SAME:
            rivals.append(k)
            counted = False
    return rivals, counted


FAMILY = {
    "Linear": "linear", "Dense": "linear", "DenseGeneral": "linear", "LinearGeneral": "linear", "Einsum": "linear",
    "Conv": "conv", "ConvTranspose": "transposed", "Embed": "embedding", "Embedding": "embedding",
    "LayerNorm": "layer", "BatchNorm": "batch", "GroupNorm": "group", "RMSNorm": "rms", "InstanceNorm": "instance",
    "PReLU": "prelu",
}  # fmt: skip
NEAR = {frozenset(pair) for pair in (("linear", "conv"), ("linear", "embedding"))}


def _clash(torch: Unit, jax: Unit) -> float:
    """Return what it costs that the classes of two layers differ."""
    kinds = [FAMILY.get(re.sub(r"(^own |, .*|\d+d$|^Lazy)", "", unit.kind)) for unit in (torch, jax)]
    if None in kinds or kinds[0] == kinds[1]:
        return 0.0
    return 1.0 if frozenset(kinds) in NEAR else 5.0


def _add_order(
    cost: np.ndarray, theirs: list[Unit], ours: list[Unit], torch_order: dict[str, int], jax_order: dict[str, int]
) -> None:
    """Charge a pair for the difference of its ranks among the layers that could take its place."""
    rows = np.array([_position(_where(u, "."), torch_order, i, ".") for i, u in enumerate(theirs)])
    columns = np.array([_position(_where(u, "/"), jax_order, k, "/") for k, u in enumerate(ours)])
    possible = cost < NEVER
    for i, k in zip(*np.nonzero(possible), strict=True):
        rank = int((rows[possible[:, k]] < rows[i]).sum())
        other = int((columns[possible[i]] < columns[k]).sum())
        cost[i, k] += ORDER * abs(rank - other)


def _where(unit: Unit, separator: str) -> str:
    """Return the path by which a unit's place in the order is looked up: that of a tensor of its."""
    del separator
    return next(iter(unit.leaves.values())) if not unit.whole else unit.path


NEXT = 1e-6
"""The weight of a place in a list, where the order of execution says nothing; a million layers stay apart."""


def _position(path: str, order: dict[str, int], otherwise: int, separator: str) -> float:
    """Return when a layer, or the layer that owns it, first ran; one that was not seen keeps its place in the list."""
    path = path.split("#")[0].removeprefix("batch_stats/")
    while path:
        if path in order:
            return order[path] + otherwise * NEXT
        path = path.rpartition(separator)[0]
    return 1e5 + otherwise
