"""Which torch tensor fills which JAX leaf: found by path, kind and shape, or given by rules; a linear map."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxgrad.models import Link
from jaxgrad.models._facts import JaxFacts, TorchFacts
from jaxgrad.models._search import Found, Match, correspond
from jaxgrad.models._unpaired import unpaired
from jaxgrad.verify._errors import MappingError
from jaxgrad.verify.port.mapping._convert import Entry, entry_of

__all__ = ["Mapping", "Rule", "automatic"]

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Rule:
    r"""One declared correspondence, tried before the automatic ones.

    ``Rule(r"blocks\.(\d+)\.fc\.weight", r"Block_\1/Dense_0/kernel", lambda w: w.T)``
    """

    torch: str
    """A regular expression that matches whole torch keys."""
    jax: str
    """The JAX path, with ``\\1`` for the groups; the empty string says that the key has no counterpart."""
    make: Callable[..., Any] | str = "copy"
    """``"copy"``, ``"transpose"``, ``"conv"`` (spatial axes first), or a linear function of the tensor."""


def rules(given: Any) -> list[Rule]:
    """Return the rules of a pair's ``mapping``.

    Raises:
        MappingError: If one is no rule.
    """
    if isinstance(given, str):
        if given == "auto":
            return []
        message = f'mapping must be "auto" or a list of rules; got {given!r}'
        raise MappingError(message)
    found = []
    for i, one in enumerate(given):
        try:
            rule = one if isinstance(one, Rule) else Rule(*one)
            re.compile(rule.torch)
        except (TypeError, re.error) as error:
            message = f"mapping[{i}] is no rule (torch regex, JAX path, how to make it): {error}"
            raise MappingError(message) from error
        if isinstance(rule.make, str) and rule.make not in NAMED:
            message = f"mapping[{i}] makes its leaf by {rule.make!r}; the names are {', '.join(NAMED)}, or a function"
            raise MappingError(message)
        found.append(rule)
    return found


NAMED: dict[str, Callable[[Any], Any]] = {
    "copy": lambda w: w,
    "transpose": lambda w: w.T,
    "conv": lambda w: w.transpose(*range(2, w.ndim), 1, 0),
}


@dataclasses.dataclass(frozen=True)
class Mapping:
    """The entries, and what is left over on either side."""

    entries: tuple[Entry, ...]
    """One for every JAX leaf that is filled; statistics of norms among them."""
    unused: tuple[str, ...]
    """Torch keys that fill nothing."""
    unfilled: tuple[str, ...]
    """JAX leaves that get nothing."""
    links: tuple[tuple[str, str], ...] = ()
    """Layers that correspond: torch path, JAX path."""
    constants: tuple[str, ...] = ()
    """Torch keys and JAX leaves without a counterpart that are no weights: constants, and what no loss depends on."""
    unpaired: dict[str, str] = dataclasses.field(default_factory=dict)
    """What is told of every tensor and leaf that is left over: what is nearest to it, and why it does not fit."""
    folded: tuple[str, ...] = ()
    """Torch layers whose weight norm was folded into the kernel, which the port holds."""

    twins: tuple[Match, ...] = ()
    """Layers that could lie in one another's places: their shapes are equal, and their names do not say which it is."""
    exchanged: Callable[[dict[str, str]], "Mapping"] | None = dataclasses.field(default=None, repr=False)
    """Finds the mapping again, with the JAX layers of some torch layers given."""

    @property
    def undecided(self) -> list[str]:
        """What a reader should know of layers that nothing has told apart."""
        if not self.twins:
            return []
        places = sorted({path for match in self.twins for path in (match.jax, *match.rivals)})
        named = [f"{', '.join(x[:4])}{' ...' if x[4:] else ''}" for x in ([m.torch for m in self.twins], places)]
        return [
            f"names and shapes do not say which of {named[0]} lies in which of {named[1]}, and no exchange that was"
            " tried makes the losses equal; what is told of other causes holds if the mapping is right: give"
            " mapping=[Rule(...)] to be sure"
        ]

    def fill(self, tensors: dict[str, Any], paths: Sequence[str]) -> dict[str, Any]:
        """Return JAX leaves made from torch tensors, for the paths asked for, as far as the tensors are given."""
        wanted = set(paths)
        return {
            e.jax: e.make(*(tensors[k] for k in e.torch))
            for e in self.entries
            if e.jax in wanted and all(k in tensors for k in e.torch)
        }

    def pull_back(self, leaves: dict[str, Any], shapes: dict[str, Shape]) -> dict[str, Any]:
        """Carry gradients with respect to JAX leaves back to torch's tensors: the transpose of `fill`.

        Args:
            leaves: JAX arrays by path; a leading axis more than the parameters have is kept (rows of gradients).
            shapes: The shapes of the torch tensors.
        """
        if not leaves:
            return {}
        dtype = next(iter(leaves.values())).dtype
        like = {key: jax.ShapeDtypeStruct(shape, dtype) for key, shape in shapes.items()}
        # a parameter that is a buffer in torch has no gradient there
        held = {e.jax for e in self.entries if all(k in shapes for k in e.torch)} & leaves.keys()
        transpose = jax.linear_transpose(lambda tensors: self.fill(tensors, tuple(held)), like)
        return transpose({path: leaves[path] for path in held})[0]

    def back(self, leaves: dict[str, np.ndarray], shapes: dict[str, Shape]) -> dict[str, np.ndarray]:
        """Return torch tensors made from JAX leaves; what a sum or a tie shares is shared out evenly."""
        ones = {key: np.ones(shape) for key, shape in shapes.items()}
        with jax.enable_x64(True):
            count = self.pull_back(_arrays(self.fill(ones, tuple(leaves))), shapes)
            total = self.pull_back(_arrays(leaves), shapes)
        return {key: np.asarray(total[key] / np.where(count[key] == 0, 1, count[key])) for key in shapes}

    def replace(self, entry: Entry) -> "Mapping":
        """Return the mapping with one entry exchanged."""
        return dataclasses.replace(self, entries=tuple(entry if e.jax == entry.jax else e for e in self.entries))


def _arrays(leaves: dict[str, Any]) -> dict[str, Any]:
    """Return float64 JAX arrays."""
    return {path: jax.numpy.asarray(leaf, jax.numpy.float64) for path, leaf in leaves.items()}


def automatic(
    torch: TorchFacts, jax: JaxFacts, rules: Sequence[Rule] = (), integers: frozenset[str] = frozenset()
) -> Mapping:
    """Find the mapping: rules first, and the rest as `jaxgrad.models.mapping_for` does.

    Args:
        torch: Torch's tensors.
        jax: The leaves of the port.
        rules: The rules of the user.
        integers: Torch's buffers of integers, which fill nothing; a rule may name them all the same.

    Raises:
        MappingError: If a rule matches nothing, names a leaf that is not there, or gives it another shape.
    """
    declared, spent = _declared(torch, jax.shapes, rules, integers)
    taken = {e.jax for e in declared}
    theirs = dataclasses.replace(torch, shapes={k: s for k, s in torch.shapes.items() if k not in spent})
    ours = dataclasses.replace(jax, shapes={p: s for p, s in jax.shapes.items() if p not in taken})

    def mapped(pinned: dict[str, str] | None = None) -> Mapping:
        found = _mapping(torch, jax, declared, correspond(theirs, ours, pinned))
        return dataclasses.replace(found, unused=(*found.unused, *sorted(integers - spent)), exchanged=mapped)

    return mapped()


def _mapping(torch: TorchFacts, jax: JaxFacts, declared: list[Entry], found: Found) -> Mapping:
    """Return the mapping of what rules declare and of what a search has found."""
    done = {key for e in declared for key in e.torch}
    inert = set(found.inert)
    unused = tuple(k for k in found.unused if torch.aliases.get(k, k) not in done and k not in inert)
    entries = (*declared, *_entries(found.matches))
    layers = [(m.torch, m.jax) for m in found.matches]
    layers += [(e.torch[0].rpartition(".")[0], e.jax.rpartition("/")[0]) for e in declared]
    unfilled = tuple(path for path in found.unfilled if path not in inert)
    told = unpaired(dataclasses.replace(found, unused=unused, unfilled=unfilled), torch, jax)
    twins = tuple(match for match in found.matches if match.rivals and not match.by_count)
    return Mapping(entries, unused, unfilled, tuple(layers), found.inert, told, twins=twins)


def _entries(matches: Sequence[Match]) -> list[Entry]:
    """Return the entries of layers that correspond; several may share a leaf, in which JAX stacks them."""
    by_path: dict[str, list[Link]] = {}
    doubts: dict[str, dict[str, None]] = {}
    for match in matches:
        note = "other layers have the same shapes: placed by name and order" if match.several else ""
        for link in match.links:
            by_path.setdefault(link.path, []).append(link)
            doubts.setdefault(link.path, {}).update(dict.fromkeys(filter(None, (match.doubts.get(link.path), note))))
    return [entry_of(path, tuple(links), "; ".join(doubts[path])) for path, links in by_path.items()]


def _declared(
    torch: TorchFacts, jax_shapes: dict[str, Shape], rules: Sequence[Rule], integers: frozenset[str]
) -> tuple[list[Entry], set[str]]:
    """Apply the rules of the user."""
    entries: list[Entry] = []
    spent: set[str] = set()
    wrong: list[str] = []
    for rule in rules:
        hits = [(key, m) for key in (*torch.shapes, *integers) if (m := re.fullmatch(rule.torch, key))]
        if not hits:
            wrong.append(f"rule {rule.torch!r} matches no torch key")
        for key, match in hits:
            spent.add(key)
            try:
                path = match.expand(rule.jax)
            except (re.error, IndexError) as error:
                wrong.append(f"rule {rule.torch!r}: its JAX path {rule.jax!r} cannot be made: {error}")
                continue
            if not path or key in integers:
                continue
            make = NAMED[rule.make] if isinstance(rule.make, str) else rule.make
            shape = np.shape(make(np.empty(torch.shapes[key])))
            if path not in jax_shapes:
                wrong.append(f"rule {rule.torch!r}: there is no JAX leaf {path}")
            elif shape != jax_shapes[path]:
                wrong.append(f"rule {rule.torch!r}: {key} gives shape {shape}, but {path} has {jax_shapes[path]}")
            else:
                name = rule.make if isinstance(rule.make, str) else "rule"
                entries.append(Entry(path, (torch.aliases.get(key, key),), make, name))
    doubled = {e.jax for e in entries if sum(o.jax == e.jax for o in entries) > 1}
    wrong += [f"several rules fill the JAX leaf {path}" for path in sorted(doubled)]
    if wrong:
        raise MappingError("\n  ".join(["the mapping's rules do not fit:", *wrong]))
    return entries, spent
