"""The search for the JAX leaf of every torch tensor: layers by shape, name, class and order of execution."""

import dataclasses
import itertools
from collections import Counter

from jaxgrad.models._assign import Match, assign
from jaxgrad.models._convert import Fit
from jaxgrad.models._facts import COUNT, JaxFacts, Shapes, TorchFacts
from jaxgrad.models._groups import Unit
from jaxgrad.models._layouts import stem
from jaxgrad.models._link import Link
from jaxgrad.models._stacked import Slice, apart, joined, stacks
from jaxgrad.models._units import jax_units, torch_units, with_tokens

__all__ = ["Found", "Match", "correspond"]


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
    found, slices = _found(torch, jax, pinned, shared=shared), dict[str, Slice]()
    while found.unused and found.unfilled:
        # leaves that are left over may be those of several layers, stacked
        free = tuple(path for path in found.unfilled if path not in slices)
        for stack in itertools.islice(stacks(torch, jax, free), STACKS):
            facts, parts = apart(jax, stack)
            other = _found(torch, facts, pinned, shared=shared)
            if len(other.unused) < len(found.unused):
                found, jax, slices = other, facts, slices | parts
                break
        else:
            break
    return _rejoined(found, slices)


STACKS = 8
"""How many places are tried for a stack of layers; those nearest the root are the likeliest."""


def _rejoined(found: Found, slices: dict[str, Slice]) -> Found:
    """Return what was found with the layers of stacks in the leaves that hold them all."""

    def real(path: str) -> str:
        return slices[path].path if path in slices else path

    def joint(match: Match) -> Match:
        parts = [slices[link.path] for link in match.links if link.path in slices]
        layer = f"{match.jax}/".replace(parts[0].number, parts[0].front, 1).rstrip("/") if parts else match.jax
        doubts = {real(path): why for path, why in match.doubts.items()}
        links = tuple(joined(link, slices) for link in match.links)
        return dataclasses.replace(match, jax=layer, links=links, doubts=doubts)

    return Found(
        tuple(map(joint, found.matches)),
        found.unused,
        tuple(dict.fromkeys(map(real, found.unfilled))),
        tuple(dict.fromkeys(map(real, found.inert))),
    )


def _found(torch: TorchFacts, jax: JaxFacts, pinned: dict[str, str] | None, *, shared: bool) -> Found:
    """Search once, for leaves as they are."""
    if not shared:
        torch = dataclasses.replace(torch, shapes={k: s for k, s in torch.shapes.items() if k not in torch.aliases})
    ran = bool(torch.order and jax.order)
    theirs, ours = with_tokens(torch_units(torch), "."), with_tokens(jax_units(jax), "/", counted=not ran)
    first = _match(torch, jax, theirs, ours, pinned or {}, {})
    orders = _orders(first)
    matches = _match(torch, jax, theirs, ours, pinned or {}, orders) if orders else first
    used = {link.name for m, _ in matches for link in m.links}
    filled = {link.path for m, _ in matches for link in m.links}
    names = [k for k in torch.shapes if not k.endswith(COUNT)]
    unused = [k for k in names if torch.aliases.get(k, k) not in used]
    found = [m for m, _ in matches]
    partly = _partly(torch.shapes, [link for m in found for link in m.links])
    return Found(
        tuple(found),
        (*unused, *partly),
        tuple(path for path in jax.shapes if path not in filled and path not in jax.loose),
        tuple(sorted(_key_biases(theirs, ours, found) - used - filled)),
    )


def _partly(shapes: Shapes, links: list[Link]) -> list[str]:
    """Return the tensors of which only some rows have a place."""
    rows: Counter[str] = Counter()
    for link in links:
        rows[link.name] += shapes[link.name][0] if link.start is None and shapes[link.name] else 0
        rows[link.name] += link.layout.torch_shape[0] if link.start is not None else 0
    return [name for name, count in rows.items() if shapes[name] and count < shapes[name][0]]


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
        for match, fit in assign(stage, free, torch, jax, pinned, orders, certain=last):
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
