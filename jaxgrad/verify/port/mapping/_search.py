"""Which torch tensor fills which JAX leaf: found by path, kind and shape, or given by rules; a linear map."""

import dataclasses
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

from jaxgrad.verify._errors import MappingError
from jaxgrad.verify.judge._tolerances import TIE_BREAK
from jaxgrad.verify.port.mapping._convert import Entry, convert, spare
from jaxgrad.verify.port.mapping._units import JaxUnit, TorchUnit, jax_units, torch_units

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

    def fill(self, tensors: dict[str, Any], paths: Sequence[str]) -> dict[str, Any]:
        """Return JAX leaves made from torch tensors, for the paths asked for."""
        wanted = set(paths)
        return {e.jax: e.make(*(tensors[k] for k in e.torch)) for e in self.entries if e.jax in wanted}

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
        held = {e.jax for e in self.entries} & leaves.keys()
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
    torch_shapes: dict[str, Shape],
    torch_kinds: dict[str, str],
    aliases: dict[str, str],
    jax_shapes: dict[str, Shape],
    jax_configs: dict[str, dict[str, Any]],
    rules: Sequence[Rule] = (),
    torch_order: dict[str, int] | None = None,
    jax_order: dict[str, int] | None = None,
) -> Mapping:
    """Find the mapping: rules first, then layers by fit, name and order of execution.

    Raises:
        MappingError: If a rule matches nothing, names a leaf that is not there, or gives it another shape.
    """
    declared, spent = _declared(torch_shapes, aliases, jax_shapes, rules)
    taken = {e.jax for e in declared}
    theirs = torch_units({k: s for k, s in torch_shapes.items() if k not in spent}, torch_kinds, aliases)
    ours = jax_units({p: s for p, s in jax_shapes.items() if p not in taken}, jax_configs)
    # layers inside of a scan are not seen when they run: they count in the order of their numbers, 2 before 10
    ours.sort(key=lambda unit: [part.zfill(9) if part.isdigit() else part for part in re.split(r"(\d+)", unit.path)])
    entries, links = list(declared), []
    free = list(ours)
    packed = [u for u in theirs if u.kind == "packed"]
    done: set[str] = set()
    # attention first, since its parts fit other layers too; tied layers last, since they may have no leaf of their own
    plain = [u for u in theirs if u.kind != "packed"]
    stages = [packed, [u for u in plain if not u.tied], [u for u in plain if u.tied]]
    for stage in stages:
        stage = [u for u in stage if not _covered(u, done)]
        for unit, target, found in _assign(stage, free, torch_order or {}, jax_order or {}):
            entries += found
            links.append((unit.path, target.path))
            free.remove(target)
            done |= set(unit.leaves.values())
    links += [(e.torch[0].rpartition(".")[0], e.jax.rpartition("/")[0]) for e in declared]
    used = {key for e in entries for key in e.torch} | spent
    names = [k for k in torch_shapes if not k.endswith("num_batches_tracked")]
    unused = tuple(k for k in names if aliases.get(k, k) not in used)
    unfilled = tuple(p for p in jax_shapes if p not in {e.jax for e in entries})
    return Mapping(tuple(entries), unused, unfilled, tuple(links))


def _covered(unit: TorchUnit, done: set[str]) -> bool:
    """Say whether a layer's tensors went into an attention layer already."""
    return not unit.tied and set(unit.leaves.values()) <= done


def _declared(
    torch_shapes: dict[str, Shape], aliases: dict[str, str], jax_shapes: dict[str, Shape], rules: Sequence[Rule]
) -> tuple[list[Entry], set[str]]:
    """Apply the rules of the user."""
    entries: list[Entry] = []
    spent: set[str] = set()
    wrong: list[str] = []
    for rule in rules:
        hits = [(key, m) for key in torch_shapes if (m := re.fullmatch(rule.torch, key))]
        if not hits:
            wrong.append(f"rule {rule.torch!r} matches no torch key")
        for key, match in hits:
            spent.add(key)
            try:
                path = match.expand(rule.jax)
            except (re.error, IndexError) as error:
                wrong.append(f"rule {rule.torch!r}: its JAX path {rule.jax!r} cannot be made: {error}")
                continue
            if not path:
                continue
            make = NAMED[rule.make] if isinstance(rule.make, str) else rule.make
            shape = np.shape(make(np.empty(torch_shapes[key])))
            if path not in jax_shapes:
                wrong.append(f"rule {rule.torch!r}: there is no JAX leaf {path}")
            elif shape != jax_shapes[path]:
                wrong.append(f"rule {rule.torch!r}: {key} gives shape {shape}, but {path} has {jax_shapes[path]}")
            else:
                name = rule.make if isinstance(rule.make, str) else "rule"
                entries.append(Entry(path, (aliases.get(key, key),), make, name))
    doubled = {e.jax for e in entries if sum(o.jax == e.jax for o in entries) > 1}
    wrong += [f"several rules fill the JAX leaf {path}" for path in sorted(doubled)]
    if wrong:
        raise MappingError("\n  ".join(["the mapping's rules do not fit:", *wrong]))
    return entries, spent


def _assign(
    theirs: list[TorchUnit], ours: list[JaxUnit], torch_order: dict[str, int], jax_order: dict[str, int]
) -> list[tuple[TorchUnit, JaxUnit, list[Entry]]]:
    """Pair layers one to one: as many as fit, by the likeness of names, then by order."""
    if not theirs or not ours:
        return []
    fits = [[convert(t, j) for j in ours] for t in theirs]
    cost = np.full((len(theirs), len(ours)), 1e6)
    for i, t in enumerate(theirs):
        for k, j in enumerate(ours):
            entries = fits[i][k]
            if entries is not None:
                cost[i, k] = 3.0 * spare(t, j, entries) - _likeness(t.path, j.path)
    _add_order(cost, theirs, ours, torch_order, jax_order)
    pairs = []
    for i, k in zip(*linear_sum_assignment(cost), strict=True):
        found = fits[i][k]
        if found is None:
            continue
        rivals = sum(f is not None for f in fits[i]) > 1 or sum(row[k] is not None for row in fits) > 1
        certain = _words(theirs[i].path) == _words(ours[k].path)
        if rivals and not certain:
            note = "other layers have the same shapes: placed by name and order"
            found = [dataclasses.replace(e, ambiguous="; ".join(filter(None, (e.ambiguous, note)))) for e in found]
        pairs.append((theirs[i], ours[k], found))
    return pairs


def _add_order(
    cost: np.ndarray,
    theirs: list[TorchUnit],
    ours: list[JaxUnit],
    torch_order: dict[str, int],
    jax_order: dict[str, int],
) -> None:
    """Charge a pair for the difference of its ranks among the layers that could take its place."""
    rows = np.array([_position(u.path.split("#")[0], torch_order, i) for i, u in enumerate(theirs)])
    columns = np.array([_position(u.path, jax_order, k) for k, u in enumerate(ours)])
    possible = cost < 1e6
    for i, k in zip(*np.nonzero(possible), strict=True):
        rank = int((rows[possible[:, k]] < rows[i]).sum())
        other = int((columns[possible[i]] < columns[k]).sum())
        cost[i, k] += 0.6 * abs(rank - other)


def _position(path: str, order: dict[str, int], otherwise: int) -> float:
    """Return when a layer, or the layer that owns it, first ran; one that was not seen keeps its place in the list."""
    separator = "/" if "/" in path or path in order else "."
    while path:
        if path in order:
            return order[path] + otherwise * TIE_BREAK
        path = path.rpartition(separator)[0]
    return 1e5 + otherwise


SYNONYMS = {
    "dense": "linear",
    "embed": "embedding",
    "ln": "norm",
    "q": "query",
    "k": "key",
    "v": "value",
    "attn": "attention",
}


def _words(path: str) -> tuple[str, ...]:
    """Split a path into lower-case words and numbers: ``layers_0/fc1`` is ``layers 0 fc 1``."""
    found = re.findall(r"[a-z]+|\d+", re.sub(r"([a-z])([A-Z])", r"\1_\2", path).lower())
    return tuple(SYNONYMS.get(word, word) for word in found)


def _likeness(torch: str, jax_path: str) -> float:
    """Score two paths: alike entirely, then by shared words; a number counts with the word before it."""
    a, b = _words(torch), _words(jax_path)
    if a == b:
        return 20.0
    grams_a = {*itertools.pairwise(a), *((w,) for w in a if w.isalpha())}
    grams_b = {*itertools.pairwise(b), *((w,) for w in b if w.isalpha())}
    shared = len(grams_a & grams_b) / max(len(grams_a | grams_b), 1)
    return 4.0 * shared
