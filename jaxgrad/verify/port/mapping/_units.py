"""Layers as units of weights on both sides."""

import dataclasses
from typing import Any

__all__ = ["JaxUnit", "TorchUnit", "jax_units", "torch_units"]

Shape = tuple[int, ...]


@dataclasses.dataclass
class TorchUnit:
    """The tensors of one torch layer."""

    path: str
    kind: str
    """The class of the module, or ``parameter`` for a bare tensor."""
    leaves: dict[str, str]
    """Local names (``weight``) to keys (``fc.weight``)."""
    shapes: dict[str, Shape]
    tied: bool = False


@dataclasses.dataclass
class JaxUnit:
    """The leaves of one JAX layer."""

    path: str
    kind: str
    leaves: dict[str, str]
    """Local names (``kernel``, ``query/kernel``) to paths."""
    shapes: dict[str, Shape]
    config: dict[str, Any]


PACKED = ("in_proj", "qkv", "c_attn", "to_qkv", "query_key_value", "Wqkv")
APART = (("q_proj", "k_proj", "v_proj"), ("query", "key", "value"), ("q", "k", "v"), ("to_q", "to_k", "to_v"),
         ("wq", "wk", "wv"))  # fmt: skip
OUT = ("out_proj", "o_proj", "proj", "c_proj", "to_out", "dense", "out", "wo")


def torch_units(shapes: dict[str, Shape], kinds: dict[str, str], aliases: dict[str, str]) -> list[TorchUnit]:
    """Group torch keys by layer; attention and recurrent layers make units of their own.

    Args:
        shapes: Every parameter and buffer, tied names included.
        kinds: The class name of every module by path.
        aliases: Tied names and the name that stands for them.
    """
    units: dict[str, TorchUnit] = {}
    for key, shape in shapes.items():
        path, _, name = key.rpartition(".")
        if name == "num_batches_tracked":
            continue
        parent, _, last = path.rpartition(".")
        kind = kinds.get(path, "")
        if kinds.get(parent) == "MultiheadAttention":
            path, name, kind = parent, f"{last}.{name}", "MultiheadAttention"
        elif name in ("in_proj_weight", "in_proj_bias"):
            name = name.replace("proj_", "proj.")
        elif kind in ("LSTM", "GRU"):
            # weight_ih_l0_reverse: each layer and direction is a cell
            stem, layer = name.split("_l", 1)
            path, name = f"{path}#{layer}", stem
        elif name not in ("weight", "bias", "running_mean", "running_var", "in_proj.weight", "in_proj.bias") and (
            kind not in ("LSTMCell", "GRUCell", "MultiheadAttention")
        ):
            path, kind = key, "parameter"
        unit = units.setdefault(path, TorchUnit(path, kind, {}, {}, tied=True))
        unit.leaves[name], unit.shapes[name] = aliases.get(key, key), shape
        unit.tied = unit.tied and key in aliases
    return _pack_attention(units)


def _pack_attention(units: dict[str, TorchUnit]) -> list[TorchUnit]:
    """Note where projections of attention stand beside their output projection; they may be one JAX layer."""
    found = list(units.values())
    below: dict[str, dict[str, TorchUnit]] = {}
    for unit in units.values():
        parent, _, last = unit.path.rpartition(".")
        if "weight" in unit.shapes:
            below.setdefault(parent, {})[last] = unit
    for parent, named in below.items():
        outs = [named[name] for name in OUT if name in named]
        sources = [{"in_proj": named[n]} for n in PACKED if n in named and _is_packed(named[n])]
        sources += [
            dict(zip("qkv", (named[n] for n in names), strict=True)) for names in APART if set(names) <= set(named)
        ]
        if len(outs) == 1:
            found += [_joined(parent, source | {"out_proj": outs[0]}) for source in sources]
    return found


def _is_packed(unit: TorchUnit) -> bool:
    """Say whether a projection makes queries, keys and values at once."""
    rows, width = unit.shapes["weight"][:2]
    return rows == 3 * width


def _joined(path: str, parts: dict[str, TorchUnit]) -> TorchUnit:
    """Return layers as one, with their tensors under ``part.weight``."""
    leaves = {f"{part}.{name}": key for part, unit in parts.items() for name, key in unit.leaves.items()}
    shapes = {f"{part}.{name}": shape for part, unit in parts.items() for name, shape in unit.shapes.items()}
    return TorchUnit(path, "packed", leaves, shapes)


def jax_units(shapes: dict[str, Shape], configs: dict[str, dict[str, Any]]) -> list[JaxUnit]:
    """Group JAX leaves by layer; attention and recurrent cells make units of their own.

    Args:
        shapes: Every leaf of the parameters and statistics.
        configs: The settings of the modules that are known, by path.
    """
    groups: dict[str, dict[str, str]] = {}
    for path in shapes:
        owner, _, name = path.rpartition("/")
        owner = owner.removeprefix("batch_stats/") if owner.startswith("batch_stats/") else owner
        parent, _, last = owner.rpartition("/")
        siblings = {
            p.removeprefix(f"{parent}/").split("/")[0] for p in shapes if p.startswith(f"{parent}/") or not parent
        }
        if _composite(siblings) and last in siblings and last in COMPOSITE_NAMES:
            owner, name = parent, f"{last}/{name}"
        groups.setdefault(owner, {})[name] = path
    units = []
    for owner, leaves in groups.items():
        local = {name: shapes[path] for name, path in leaves.items()}
        known = {"kernel", "bias", "scale", "embedding", "mean", "var", "negative_slope"}
        if not any("/" in name for name in leaves) and not set(leaves) <= known:
            for name, path in leaves.items():
                if name not in known:
                    units.append(JaxUnit(path, "parameter", {name: path}, {name: shapes[path]}, {}))
            leaves = {n: p for n, p in leaves.items() if n in known}
        if leaves:
            local = {name: shapes[path] for name, path in leaves.items()}
            units.append(JaxUnit(owner, "", leaves, local, configs.get(owner, {})))
    return units


COMPOSITE_NAMES = frozenset(
    {"query", "key", "value", "out", "query_ln", "key_ln", "dense_i", "dense_h"}
    | {f"{a}{g}" for a in "ih" for g in "ifgorzn"}
    | {"if_", "in_"}
)


def _composite(names: set[str]) -> bool:
    """Say whether these children make an attention layer or a recurrent cell."""
    return (
        {"query", "key", "value", "out"} <= names
        or {"ii", "ig", "io", "hi"} <= names
        or {"ir", "iz", "hr", "hn"} <= names
        or {"dense_i", "dense_h"} <= names
    )
