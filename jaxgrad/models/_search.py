"""The search for the node of a tree that holds the tensors of a torch layer."""

import re
from collections.abc import Mapping as Dictionary
from typing import Any

from jaxgrad.models._conventions import links_of
from jaxgrad.models._fit import Layer, Mismatch, Shapes, dotted
from jaxgrad.models._link import Link

__all__ = ["Search", "form", "renamed"]

Rules = Dictionary[str, str]


class Search:
    """The layers of a torch module, and the nodes of the tree that are still free."""

    def __init__(self, torch_module: Any, leaves: Shapes, hints: dict[str, Any], rules: Rules) -> None:
        self.leaves, self.hints, self.rules = leaves, hints, rules
        self.aliases = _aliases(torch_module)
        self.layers = _layers(torch_module, self.aliases)
        self.links: list[tuple[str, Link]] = []
        self.problems = [
            f"{argument} speaks of {name}, which is no layer"
            for argument, named in hints.items()
            for name in named
            if name not in self.layers
        ]
        self.problems += [
            f"rules: nothing is called {pattern}"
            for pattern in rules
            if not any(re.fullmatch(pattern, name) for name in self.layers)
        ]

    def run(self) -> list[str]:
        """Link every layer, by its name or else by its shapes; return those that order alone has paired."""
        nodes, short = _by(form, self.leaves), _by(_short_form, self.leaves)
        wanted = {name: renamed(name, self.rules) for name in self.layers}
        named = {name: nodes.get(form(path)) or short.get(_short_form(path), []) for name, path in wanted.items()}
        # a Sequential counts its activations: where one number of a series has no node, none of them can be trusted
        broken = {_series(name) for name, found in named.items() if not found}
        named = {name: [] if _series(name) in broken else found for name, found in named.items()}
        for name, found in named.items():
            self._link_named(self.layers[name], found)
        guesses = [self._link_by_shape(self.layers[name]) for name, found in named.items() if not found]
        self._refuse_shared_leaves()
        return [name for guess in guesses for name in guess]

    def _refuse_shared_leaves(self) -> None:
        """Note every leaf that two layers have found."""
        owners: dict[str, list[str]] = {}
        for layer, link in self.links:
            owners.setdefault(link.path, []).append(layer)
        self.problems += [
            f"{path} is the place of {' and of '.join(dict.fromkeys(layers))}"
            for path, layers in owners.items()
            if len(set(layers)) > 1
        ]

    def _add(self, layer: Layer, links: list[Link]) -> None:
        """Keep the links of a layer."""
        self.links += [(layer.name, link) for link in links]

    def _link_named(self, layer: Layer, nodes: list[str]) -> None:
        """Link a layer to the first node of its name that fits, and note why if none does."""
        reasons = []
        for node in nodes:
            try:
                self._add(layer, links_of(layer, node, self.leaves, self.hints))
            except Mismatch as reason:
                reasons.append(str(reason))
            else:
                return
        self.problems += reasons

    def _link_by_shape(self, layer: Layer) -> list[str]:
        """Link a layer to the first free node that fits and is filled by it."""
        used = {link.path for _, link in self.links}
        fits, free = {}, {path: shape for path, shape in self.leaves.items() if path not in used}
        for node in _nodes(free):
            try:
                links = links_of(layer, node, self.leaves, self.hints)
            except Mismatch:
                continue
            if {link.path for link in links} == {path for path in free if path.startswith(f"{node}/" if node else "")}:
                fits[node] = links
        same = {node: links for node, links in fits.items() if _same_class(layer.module, node)} or fits
        if not same:
            self.problems += [
                f"{dotted(layer.name, own)} {list(shape)} has no leaf" for own, shape in layer.shapes.items()
            ]
            return []
        self._add(layer, next(iter(same.values())))
        return [layer.name] if len(same) > 1 else []


def _nodes(leaves: Shapes) -> list[str]:
    """Return the paths of the nodes above the leaves, ``Dense_2`` before ``Dense_10``."""
    nodes = {"", *leaves}
    for path in leaves:
        parts = path.split("/")
        nodes |= {"/".join(parts[:i]) for i in range(len(parts))}
    return sorted(nodes - set(leaves), key=_natural)


def _short_form(name: str) -> tuple[str, ...]:
    """Return the form without the word that Flax's containers add: torch's ``0`` is ``layers_0`` in linen."""
    return tuple(part for part in form(name) if part != "layers")


def _series(name: str) -> str:
    """Return a name without its numbers, which the layers of one series share."""
    return re.sub(r"\d+", "#", name)


def _by(key: Any, leaves: Shapes) -> dict[Any, list[str]]:
    """Return the nodes above the leaves, by their form."""
    found: dict[Any, list[str]] = {}
    for node in _nodes(leaves):
        found.setdefault(key(node), []).append(node)
    return found


def _natural(path: str) -> list[str]:
    """Return a key that sorts numbers by their value."""
    return [part.zfill(9) if part.isdigit() else part for part in re.findall(r"\d+|\D+", path)]


def form(name: str) -> tuple[str, ...]:
    """Return the letters and the numbers of a name, in which ``layers.0.fc1`` and ``layers_0/fc1`` are one."""
    return tuple(re.findall(r"[a-z]+|\d+", name.lower()))


def renamed(name: str, rules: Rules) -> str:
    """Return the path that the first rule that matches gives to a name, or the name."""
    for pattern, path in rules.items():
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(path)
    return name


def _same_class(module: Any, node: str) -> bool:
    """Say whether a node is named after the class of a layer: ``LayerNorm_0``."""
    named = re.sub(r"_\d+$", "", node.rpartition("/")[2])
    return bool(named) and type(module).__name__.startswith(named)


def _aliases(torch_module: Any) -> dict[str, str]:
    """Return the further names of tied parameters, with the first name of each."""
    first: dict[int, str] = {}
    names = [(name, id(p)) for name, p in torch_module.named_parameters(remove_duplicate=False)]
    return {name: first[own] for name, own in names if first.setdefault(own, name) != name}


def _layers(torch_module: Any, aliases: dict[str, str]) -> dict[str, Layer]:
    """Return the modules that hold parameters themselves; an attention layer includes its output projection."""
    layers: dict[str, Layer] = {}
    for name, module in torch_module.named_modules():
        parent, _, own = name.rpartition(".")
        shapes = {
            key: tuple(p.shape) for key, p in module.named_parameters(recurse=False) if dotted(name, key) not in aliases
        }
        above = type(layers[parent].module).__mro__ if parent in layers else ()
        if own == "out_proj" and "MultiheadAttention" in {base.__name__ for base in above}:
            layers[parent].shapes.update({f"out_proj.{key}": shape for key, shape in shapes.items()})
        elif shapes:
            layers[name] = Layer(module, name, shapes)
    return layers
