"""The tensors of either side, layer by layer."""

import re
from collections.abc import Callable
from typing import Any

from jaxgrad._natural import natural
from jaxgrad.models._facts import COUNT, JaxFacts, Shape, Shapes, TorchFacts
from jaxgrad.models._groups import Unit, attention_units, jax_cells, torch_cells
from jaxgrad.models._names import DIRECTIONS, Number, Token, role_of, words

__all__ = ["Unit", "jax_units", "torch_units", "with_tokens"]

WITH_MATRICES = ("MultiheadAttention", "LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell")


Owners = dict[str, dict[str, str]]
"""Local names and full names, by the path of their layer."""


def torch_units(facts: TorchFacts) -> list[Unit]:
    """Group torch tensors by layer; attention and recurrent layers make units of their own beside their parts."""
    owners: Owners = {}
    for key in facts.shapes:
        path, _, name = key.rpartition(".")
        if name == COUNT:
            continue
        kind = facts.kinds.get(path, "")
        if match := re.fullmatch(r"(?:(.*)\.)?parametrizations\.(\w+)(?:\.\d+)?", path):
            path, name = match[1] or "", name if match[2] == "weight" else f"{match[2]}.{name}"
        elif name in ("weight_u", "weight_v") and key in facts.loose:
            # what spectral norm keeps of its power iteration; the weight is weight_orig
            name = name.removeprefix("weight")
        elif kind in ("LSTM", "GRU", "RNN") and "_l" in name:
            # weight_ih_l0_reverse: each layer and direction is a cell
            stem, layer = name.split("_l", 1)
            path, name = f"{path}#{layer}", stem
        if re.fullmatch(r"(weight|bias)_[ih]h", name):
            role, side = name.split("_")
            path, name = f"{path}.{side}" if path else side, role
        elif match := re.fullmatch(r"(in|q|k|v)_proj_(weight|bias)", name):
            path, name = f"{path}.{match[1]}_proj" if path else f"{match[1]}_proj", match[2]
        owners.setdefault(path, {})[name] = key

    def kind_at(path: str) -> str:
        # the matrices of torch's attention and recurrent layers are no modules of their own
        inside = facts.kinds.get(path.rpartition(".")[0].split("#")[0], "") in WITH_MATRICES
        return facts.kinds.get(path, "Linear" if inside else "")

    units = _units(owners, facts.shapes, ".", kind_at)
    for unit in units:
        unit.shared = frozenset(name for name, key in unit.leaves.items() if key in facts.aliases)
        unit.tied = len(unit.shared) == len(unit.leaves)
        unit.loose = all(key in facts.loose for key in unit.leaves.values())
        unit.config = {"transposed": facts.transposed.get(unit.path)}
    together = [*attention_units(units, "."), *torch_cells(units)]
    for unit in [*units, *together]:
        unit.leaves = {name: facts.aliases.get(key, key) for name, key in unit.leaves.items()}
    return [*units, *together]


def jax_units(facts: JaxFacts) -> list[Unit]:
    """Group JAX leaves by layer; attention and recurrent layers make units of their own beside their parts."""
    owners: Owners = {}
    for path in facts.shapes:
        owner, name = _owner(path, facts.shapes)
        owners.setdefault(owner, {})[name] = path
    units = _units(owners, facts.shapes, "/", lambda path: facts.configs.get(path, {}).get("kind", _auto(path)))
    for unit in units:
        unit.config = facts.configs.get(unit.path, {})
        unit.loose = all(path in facts.loose for path in unit.leaves.values())
    return sorted([*units, *attention_units(units, "/"), *jax_cells(units)], key=lambda unit: natural(unit.path))


def _owner(path: str, shapes: Shapes) -> tuple[str, str]:
    """Return the layer of a leaf, and the leaf's name in it."""
    plain = path.removeprefix("batch_stats/")
    owner, _, name = plain.rpartition("/")
    if name in ("scale", "u", "sigma") and owner.rpartition("/")[2] in ("kernel", "bias"):
        # Flax's wrapper for weight norm keeps the scale of a layer's kernel under its own name, not the layer's
        inside = owner.split("/")
        for i in range(len(inside) - 1):
            wrapped = "/".join([*inside[:i], *inside[i + 1 :]])
            if wrapped in shapes:
                layer, _, what = wrapped.rpartition("/")
                return layer, "weight_g" if (name, what) == ("scale", "kernel") else f"{what}.{name}"
    return owner, name


def _auto(path: str) -> str:
    """Return the class that Flax named a layer after: ``LayerNorm_0``."""
    match = re.fullmatch(r"([A-Z]\w*?)_\d+", path.rpartition("/")[2])
    return match[1] if match else ""


def _units(owners: Owners, shapes: Shapes, separator: str, kind_of: Callable[[str], str]) -> list[Unit]:
    """Return a unit for every layer, and one for every tensor that is bare."""
    grouped: dict[str, list[tuple[str, str, str]]] = {}
    units: list[Unit] = []
    for owner, leaves in owners.items():
        listed = _listed(leaves, shapes)
        for name, full in leaves.items():
            role = listed.get(name) or role_of(name)
            if role is None:
                units.append(_bare(full, shapes[full]))
                continue
            path = separator.join(filter(None, (owner, role[1])))
            grouped.setdefault(path, []).append((role[0], name, full))
    for path, found in grouped.items():
        units += _one_layer(path, kind_of(path), found, shapes)
    order = {full: i for i, full in enumerate(shapes)}
    return sorted(units, key=lambda unit: min(order[full] for full in unit.leaves.values()))


def _bare(full: str, shape: Shape) -> Unit:
    """Return the unit of a tensor that is no layer's."""
    return Unit(full, "parameter", {"value": full}, {"value": shape})


def _listed(leaves: dict[str, str], shapes: Shapes) -> dict[str, tuple[str, str]]:
    """Return the parts that the members of a pair ``(matrix, vector)`` play."""
    if len(leaves) != 2 or not all(name.isdigit() for name in leaves):
        return {}
    first, second = sorted(leaves, key=lambda name: -len(shapes[leaves[name]]))
    if len(shapes[leaves[second]]) != 1 or len(shapes[leaves[first]]) < 1:
        return {}
    return {first: ("weight", ""), second: ("bias", "")}


def _one_layer(path: str, kind: str, found: list[tuple[str, str, str]], shapes: Shapes) -> list[Unit]:
    """Return the unit of one layer; what plays the same part twice is bare, but for the norm of a kernel."""
    by_role: dict[str, list[tuple[str, str]]] = {}
    for role, name, full in found:
        by_role.setdefault(role, []).append((name, full))
    weights = by_role.get("weight", [])
    if len(weights) == 2:
        small, large = sorted(weights, key=lambda item: _axes(shapes[item[1]]))
        if _axes(shapes[small[1]]) <= 1 < _axes(shapes[large[1]]) and "g" not in by_role:
            by_role |= {"weight": [large], "g": [small]}
    units = [_bare(full, shapes[full]) for same in by_role.values() if len(same) > 1 for _, full in same]
    leaves = {role: same[0][1] for role, same in by_role.items() if len(same) == 1}
    if leaves:
        unit = Unit(path, kind, leaves, {role: shapes[full] for role, full in leaves.items()})
        units.append(unit)
    return units


def _axes(shape: Shape) -> int:
    """Count the axes that are longer than one."""
    return sum(size > 1 for size in shape)


CORE = ("kernel", "weight", "bias", "scale", "embedding", "mean", "var", "running_mean", "running_var")


def with_tokens(units: list[Unit], separator: str, *, counted: bool = True) -> list[Unit]:
    """Give the units the words of their names, with numbers placed among those of like layers.

    Args:
        units: The units of one side.
        separator: What joins the parts of a path.
        counted: Whether numbers count that Flax gives to layers: they tell the order in which layers are made, which
            the order in which they run overrules.
    """
    parts = {id(unit): words(_name(unit, separator), counted=counted) for unit in units}
    for unit in units:
        if unit.kind == "cell":
            parts[id(unit)] = tuple(DIRECTIONS.get(word, word) for word in parts[id(unit)])
    alike: dict[Any, set[int]] = {}
    for unit in units:
        for prefix, number in _numbers(parts[id(unit)]):
            alike.setdefault((_signature(unit), prefix), set()).add(number)
    for unit in units:
        tokens: list[Token] = list(parts[id(unit)])
        for prefix, number in _numbers(parts[id(unit)]):
            among = frozenset(alike[_signature(unit), prefix])
            tokens[len(prefix)] = Number(number, sum(n < number for n in among), among)
        unit.tokens = tuple(tokens)
    return units


def _name(unit: Unit, separator: str) -> str:
    """Return the name of a unit: a layer's, and that of its only tensor where it says something."""
    names = [full.rpartition(separator)[2] for full in unit.leaves.values()]
    if len(names) == 1 and not unit.whole and names[0] not in CORE:
        return next(iter(unit.leaves.values()))
    return unit.path.removesuffix("#0")


def _numbers(parts: tuple[str, ...]) -> list[tuple[tuple[str, ...], int]]:
    """Return the numbers of a name, each with what stands before it."""
    return [(parts[:i], int(part)) for i, part in enumerate(parts) if part.isdigit()]


def _signature(unit: Unit) -> Any:
    """Return what like layers have in common on both sides: what tensors they have, and with how many axes."""
    return tuple(sorted((role, len(shape)) for role, shape in unit.shapes.items() if role not in ("mean", "var")))
