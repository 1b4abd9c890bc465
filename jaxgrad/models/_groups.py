"""Layers that are several on one side and may be one on the other: attention, and recurrent cells."""

import dataclasses
from typing import Any

from jaxgrad.models._facts import Shapes
from jaxgrad.models._names import Token

__all__ = ["GATES", "Unit", "attention_units", "jax_cells", "torch_cells"]

PACKED = ("in_proj", "qkv", "c_attn", "to_qkv", "query_key_value", "Wqkv", "qkv_proj")
APART = (("q_proj", "k_proj", "v_proj"), ("query", "key", "value"), ("q", "k", "v"), ("to_q", "to_k", "to_v"),
         ("wq", "wk", "wv"), ("q_lin", "k_lin", "v_lin"), ("Wq", "Wk", "Wv"), ("q_linear", "k_linear", "v_linear"),
         ("query_proj", "key_proj", "value_proj"))  # fmt: skip
OUT = ("out_proj", "o_proj", "proj", "c_proj", "to_out", "to_out.0", "dense", "out", "wo", "out_lin", "Wo", "proj_out",
       "to_out_0", "output", "proj_attn")  # fmt: skip
STACKED = (("dense_i", "dense_h"), ("ih", "hh"), ("i2h", "h2h"), ("x2h", "h2h"), ("wi", "wh"), ("i", "h"))
"""What people call the two matrices of a recurrent cell that keeps all gates together."""
GATES = {"LSTM": ("i", "f", "g", "o"), "GRU": ("r", "z", "n"), "RNN": ("",)}
"""The gates in torch's order."""


@dataclasses.dataclass
class Unit:
    """The tensors of one layer."""

    path: str
    kind: str
    """The class of the layer, ``parameter`` for a bare tensor, ``attention`` or ``cell`` for several layers as one."""
    leaves: dict[str, str]
    """What each tensor is to the layer (``weight``, or ``q.weight`` in an attention layer), and its name."""
    shapes: Shapes
    """The shapes by the same keys."""
    tied: bool = False
    loose: bool = False
    """Whether it needs no counterpart."""
    shared: frozenset[str] = frozenset()
    """Which of its tensors have another name, and perhaps no leaf of their own."""
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    tokens: tuple[Token, ...] = ()
    """The words of its name."""

    @property
    def whole(self) -> bool:
        """Whether it stands for several layers, whose tensors other units hold too."""
        return self.kind in ("attention", "cell")


def attention_units(units: list[Unit], separator: str) -> list[Unit]:
    """Return the projections of queries, keys and values with that of the output, where they stand side by side."""
    below: dict[str, dict[str, Unit]] = {}
    for unit in units:
        parent, _, last = unit.path.rpartition(separator)
        if "weight" in unit.shapes and len(unit.shapes["weight"]) > 1:
            below.setdefault(parent, {})[last] = unit
            # torch's Sequential of the projection and a dropout
            above, _, name = parent.rpartition(separator)
            below.setdefault(above, {})[f"{name}.{last}"] = unit
    found = []
    by_path = {unit.path: unit for unit in units}
    for parent, named in below.items():
        outs = [named[name] for name in OUT if name in named]
        above = parent.rpartition(separator)[0]
        path = parent
        if not outs and "output.dense" in below.get(above, {}):
            # BERT: attention.self.query beside attention.output.dense
            outs, path = [below[above]["output.dense"]], above
        sources = [{"in": named[n]} for n in PACKED if n in named]
        sources += [dict(zip("qkv", (named[n] for n in names), strict=True)) for names in APART if {*names} <= {*named}]
        joint = by_path.get(f"{parent}{separator}in_proj".removeprefix(separator))
        shared = {"in": joint} if joint is not None and set(joint.leaves) == {"bias"} else {}
        if len(outs) == 1:
            found += [_joined(path, "attention", {**shared, **source, "out": outs[0]}) for source in sources]
    return found


def _joined(path: str, kind: str, parts: dict[str, Unit]) -> Unit:
    """Return layers as one, with their tensors under ``part.weight``."""
    leaves = {f"{part}.{name}": key for part, unit in parts.items() for name, key in unit.leaves.items()}
    shapes = {f"{part}.{name}": shape for part, unit in parts.items() for name, shape in unit.shapes.items()}
    return Unit(path, kind, leaves, shapes)


def torch_cells(units: list[Unit]) -> list[Unit]:
    """Return torch's recurrent cells: all gates of the input in one matrix, and all of the state in another."""
    by_path = {unit.path: unit for unit in units}
    found = []
    for unit in units:
        parent, _, last = unit.path.rpartition(".")
        other = by_path.get(f"{parent}.hh" if parent else "hh")
        if last == "ih" and other is not None and {"weight"} <= unit.leaves.keys() & other.leaves.keys():
            found.append(_joined(parent, "cell", {"i": unit, "h": other}))
    return found


def jax_cells(units: list[Unit]) -> list[Unit]:
    """Return Flax's recurrent cells: a layer a gate, or two that hold all gates."""
    below: dict[str, dict[str, Unit]] = {}
    for unit in units:
        parent, _, last = unit.path.rpartition("/")
        if len(unit.shapes.get("weight", ())) == 2:
            # "if" and "in" are words of Python, which NNX writes "if_" and "in_"
            below.setdefault(parent, {})[last.rstrip("_")] = unit
    found = []
    for parent, named in below.items():
        for gates in (GATES["LSTM"], GATES["GRU"]):
            names = [f"{side}{gate}" for side in "ih" for gate in gates]
            if set(names) <= set(named):
                found.append(_joined(parent, "cell", {name: named[name] for name in names}))
        found.extend(
            _joined(parent, "cell", {"i": named[pair[0]], "h": named[pair[1]]})
            for pair in STACKED
            if set(pair) <= set(named)
        )
    return found
