"""The search for the JAX leaf of every torch tensor: layers by shape, name, class and order of execution."""

import dataclasses
import re
from collections import Counter

import numpy as np
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

from jaxgrad.models._convert import Fit, convert
from jaxgrad.models._facts import JaxFacts, Shape, Shapes, TorchFacts
from jaxgrad.models._layouts import stem
from jaxgrad.models._link import Link
from jaxgrad.models._names import likeness, role_of, words
from jaxgrad.models._units import Unit, jax_units, torch_units, with_tokens

__all__ = ["Found", "Match", "correspond", "unpaired"]

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


@dataclasses.dataclass(frozen=True)
class Found:
    """What a search found, and what it left over."""

    matches: tuple[Match, ...]
    unused: tuple[str, ...]
    """Torch tensors without a leaf."""
    unfilled: tuple[str, ...]
    """JAX leaves without a tensor."""
    inert: tuple[str, ...] = ()
    """Those of both that change nothing: a softmax drops what a bias of the keys adds to all its scores."""

    @property
    def links(self) -> tuple[Link, ...]:
        """Every link."""
        return tuple(link for match in self.matches for link in match.links)


def correspond(torch: TorchFacts, jax: JaxFacts, pinned: dict[str, str] | None = None, *, shared: bool = True) -> Found:
    """Find which JAX leaf every torch tensor fills.

    Layers are paired one to one, as many as fit: what their names have in common counts, then their classes, and the
    order in which they ran, where that is known. Layers that are several on one side and one on the other (attention,
    recurrent cells) come first, tied ones last, since they may have no leaf of their own, and tensors that are left
    over alone at the end.

    Args:
        torch: What is known of the torch module.
        jax: What is known of the JAX model.
        pinned: Torch layers whose JAX layer is given.
        shared: Whether a tied tensor may fill several leaves.
    """
    if not shared:
        torch = dataclasses.replace(torch, shapes={k: s for k, s in torch.shapes.items() if k not in torch.aliases})
    ran = bool(torch.order and jax.order)
    theirs, ours = with_tokens(torch_units(torch), "."), with_tokens(jax_units(jax), "/", counted=not ran)
    first = _match(torch, jax, theirs, ours, pinned or {}, {})
    orders = _orders(first)
    matches = _match(torch, jax, theirs, ours, pinned or {}, orders) if orders else first
    used = {link.name for m, _ in matches for link in m.links}
    filled = {link.path for m, _ in matches for link in m.links}
    names = [k for k in torch.shapes if not k.endswith("num_batches_tracked")]
    unused = [k for k in names if torch.aliases.get(k, k) not in used]
    found = [m for m, _ in matches]
    partly = [link.name for m in found for link in m.links if link.layout.pad]
    return Found(
        tuple(found),
        (*unused, *partly),
        tuple(path for path in jax.shapes if path not in filled and path not in jax.loose),
        tuple(sorted(_key_biases(theirs, ours, found) - used - filled)),
    )


def _key_biases(theirs: list[Unit], ours: list[Unit], matches: list[Match]) -> set[str]:
    """Return the biases of keys in the attention layers that were found."""
    pairs = {(match.torch, match.jax) for match in matches}
    whole = [[unit for unit in units if unit.kind == "attention"] for units in (theirs, ours)]
    names = set()
    for t in whole[0]:
        for j in whole[1]:
            if (t.path, j.path) in pairs:
                names |= {unit.leaves["k.bias"] for unit in (t, j) if "k.bias" in unit.leaves}
    return names


def _orders(matches: list[tuple[Match, Fit]]) -> dict[str, bool]:
    """Return the order of axes that the leaves of one name keep, as those have shown whose shapes tell."""
    votes: dict[str, Counter[bool]] = {}
    for _, fit in matches:
        for path, turned in fit.orders.items():
            votes.setdefault(stem(path), Counter())[turned] += 1
    return {name: count.most_common(1)[0][0] for name, count in votes.items()}


def _match(
    torch: TorchFacts,
    jax: JaxFacts,
    theirs: list[Unit],
    ours: list[Unit],
    pinned: dict[str, str],
    orders: dict[str, bool],
) -> list[tuple[Match, Fit]]:
    """Pair all layers, in stages."""
    found: list[tuple[Match, Fit]] = []
    used: set[str] = set()
    filled: set[str] = set()
    whole = [u for u in theirs if u.whole]
    plain = [u for u in theirs if not u.whole]
    stages = [whole, [u for u in plain if not u.tied], [u for u in plain if u.tied], _alone(plain)]
    for i, stage in enumerate(stages):
        last = i == len(stages) - 1
        free = [u for u in (_alone(ours) if last else ours) if not filled & set(u.leaves.values())]
        stage = [u for u in stage if u.tied or not used & set(u.leaves.values())]
        stage = [u for u in stage if not last or not used & set(u.leaves.values())]
        for match, fit in _assign(stage, free, torch, jax, pinned, orders, certain=last):
            found.append((match, fit))
            used |= {link.name for link in match.links}
            filled |= {link.path for link in match.links}
    return found


def _alone(units: list[Unit]) -> list[Unit]:
    """Return every tensor of layers that hold several as a layer of its own."""
    parts = []
    for unit in units:
        for name, full in unit.leaves.items():
            if not unit.whole:
                parts.append(dataclasses.replace(unit, leaves={name: full}, shapes={name: unit.shapes[name]}))
    return parts


def _assign(
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
    # 2. where both sides were seen to run, 0.6 for a place in the order against 8 for a whole name, so that it decides
    # among layers whose names say nothing
    if torch.order and jax.order:
        _add_order(cost, theirs, ours, torch.order, jax.order)
    # 3. the assignment of least cost (Jonker and Volgenant), without the pairs that do not fit
    found = []
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


def unpaired(found: Found, torch: TorchFacts, jax: JaxFacts) -> dict[str, str]:
    """Say of every tensor and leaf that is left over which is the nearest on the other side, and why it does not fit.

    Returns:
        What there is to say, by name: ``the nearest is a/kernel [2, 9], whose shape differs``; empty where nothing is.
    """
    filled = {link.path: link.name for link in found.links}
    back = {link.name: link.path for link in found.links}
    told = {path: _nearest(path, jax.shapes[path], found.unused, torch.shapes, back) for path in found.unfilled}
    for key in found.unused:
        told[key] = _nearest(key, torch.shapes[key], found.unfilled, jax.shapes, filled)
        if key in back:
            told[key] = "the reset gate scales its last third, for which this cell has no bias"
    return told


def _nearest(name: str, shape: Shape, free: tuple[str, ...], shapes: Shapes, taken: dict[str, str]) -> str:
    """Return in words which tensor of the other side is nearest by name, part and shape; one left over if it is near.

    Args:
        name: What is left over.
        shape: Its shape.
        free: What is left over on the other side.
        shapes: All there is on the other side.
        taken: Who fills it.
    """
    part = _part(name)

    def score(other: str) -> float:
        alike = likeness(words(name), words(other))[1] + (sorted(shapes[other]) == sorted(shape)) / 2
        return alike + (other in free) / 4 + (part is not None and part == _part(other)) / 4

    best = max(shapes, key=score, default=None)
    if best is None or score(best) <= 0.75:
        return ""
    why = f", which goes with {taken[best]}" if best in taken else ""
    if not why and sorted(shapes[best]) != sorted(shape):
        why = ", whose shape differs"
    return f"the nearest is {best} {list(shapes[best])}{why}"


def _part(name: str) -> str | None:
    """Return what a tensor is to its layer."""
    found = role_of(re.split(r"[./]", name)[-1])
    return None if found is None else found[0]
