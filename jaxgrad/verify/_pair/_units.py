"""Layers as units of weights on both sides, and how the weights of one become those of the other.

Every conversion is linear and uses only ``.T``, ``.transpose``, ``.reshape``, slices and ``+``, so that it runs on
NumPy and JAX arrays alike and its transpose carries gradients back.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

__all__ = ["Entry", "JaxUnit", "TorchUnit", "convert", "jax_units", "spare", "torch_units"]

Shape = tuple[int, ...]
Make = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Entry:
    """One JAX leaf and where it comes from."""

    jax: str
    """The leaf's path."""
    torch: tuple[str, ...]
    """The names of the torch tensors that it is made of."""
    make: Make
    """Makes the leaf from those tensors."""
    rule: str
    """The rule in words, such as ``transpose``."""
    ambiguous: str = ""
    """Why the shapes alone do not prove this entry; empty where they do."""


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


LSTM_GATES = ("i", "f", "g", "o")
GRU_GATES = ("r", "z", "n")
PACKED = ("in_proj", "qkv", "c_attn", "to_qkv", "query_key_value", "Wqkv")
OUT = ("out_proj", "proj", "c_proj", "to_out", "dense", "out")


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
        elif kind in ("LSTM", "GRU"):
            # weight_ih_l0_reverse: each layer and direction is a cell
            stem, layer = name.split("_l", 1)
            path, name = f"{path}#{layer}", stem
        elif name not in ("weight", "bias", "running_mean", "running_var", "in_proj_weight", "in_proj_bias") and (
            kind not in ("LSTMCell", "GRUCell", "MultiheadAttention")
        ):
            path, kind = key, "parameter"
        unit = units.setdefault(path, TorchUnit(path, kind, {}, {}, tied=True))
        unit.leaves[name], unit.shapes[name] = aliases.get(key, key), shape
        unit.tied = unit.tied and key in aliases
    return _pack_attention(units)


def _pack_attention(units: dict[str, TorchUnit]) -> list[TorchUnit]:
    """Note where a packed projection and its output projection stand side by side; they may be one JAX layer."""
    found = list(units.values())
    for unit in units.values():
        parent, _, last = unit.path.rpartition(".")
        outs = [units[f"{parent}.{o}"] for o in OUT if f"{parent}.{o}" in units]
        if last in PACKED and len(outs) == 1 and unit.shapes["weight"][0] == 3 * unit.shapes["weight"][1]:
            leaves = {f"in_proj_{n}": k for n, k in unit.leaves.items()}
            leaves |= {f"out_proj.{n}": k for n, k in outs[0].leaves.items()}
            shapes = {f"in_proj_{n}": s for n, s in unit.shapes.items()}
            shapes |= {f"out_proj.{n}": s for n, s in outs[0].shapes.items()}
            found.append(TorchUnit(parent, "packed", leaves, shapes))
    return found


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


def convert(torch: TorchUnit, jax: JaxUnit) -> list[Entry] | None:
    """Return the entries that fill a JAX layer from a torch layer, or ``None`` if they do not fit.

    A layer may lack its bias or its scale on one side: the rest is still the same layer, and what is left over is
    found by whoever counts.
    """
    if torch.kind in ("MultiheadAttention", "packed"):
        plan = _attention(torch, jax)
    elif "weight_ih" in torch.leaves:
        plan = _recurrent(torch, jax)
    elif torch.kind == "parameter":
        plan = _bare(torch, jax)
    else:
        plan = _plain(torch, jax)
    if not plan or not set(plan) <= set(jax.leaves) or not set(jax.leaves) - set(plan) <= OPTIONAL:
        return None
    if any(s not in torch.leaves for sources, _, _ in plan.values() for s in sources):
        return None
    used = {s for sources, _, _ in plan.values() for s in sources}
    if not set(torch.leaves) - used <= {"bias", "weight"}:
        return None
    entries = []
    for name, (sources, make, rule) in plan.items():
        square = torch.shapes[sources[0]]
        swap = rule == "transpose" and len(square) == 2 and square[0] == square[1] == jax.shapes[name][0]
        note = "square kernel: the shapes do not tell it from its transpose" if swap else ""
        entries.append(Entry(jax.leaves[name], tuple(torch.leaves[s] for s in sources), make, rule, note))
    return entries


def spare(torch: TorchUnit, jax: JaxUnit, entries: list[Entry]) -> int:
    """Count the leaves on either side that entries leave over."""
    used = {key for e in entries for key in e.torch}
    return len(set(torch.leaves.values()) - used) + len(jax.leaves) - len(entries)


OPTIONAL = {"bias", "scale"}
"""Leaves of a JAX layer that torch's layer may lack."""

Plan = dict[str, tuple[tuple[str, ...], Make, str]]


def _plain(torch: TorchUnit, jax: JaxUnit) -> Plan | None:
    """Linear, convolution, norm, embedding, PReLU."""
    plan: Plan = {}
    renamed = {"bias": "bias", "running_mean": "mean", "running_var": "var"}
    for name, new in renamed.items():
        if name in torch.leaves and (new in jax.leaves or new != "bias"):
            if new not in jax.leaves or math.prod(torch.shapes[name]) != math.prod(jax.shapes[new]):
                return None
            plan[new] = ((name,), _reshape(jax.shapes[new]), "copy")
    if "weight" not in torch.leaves:
        return plan
    shape = torch.shapes["weight"]
    for new in ("scale", "embedding", "negative_slope"):
        if new in jax.leaves:
            target = jax.shapes[new]
            lookup = new == "embedding"
            if lookup != (torch.kind in ("Embedding", "EmbeddingBag") or (lookup and len(shape) == 2 and torch.tied)):
                return None
            if (shape != target) if lookup else (math.prod(shape) != math.prod(target) or torch.kind in MATRICES):
                return None
            return plan | {new: (("weight",), _reshape(target), "copy")}
    if "bias" in plan and set(jax.leaves) == {"bias"} and torch.kind not in MATRICES:
        return plan
    if "kernel" not in jax.leaves or (torch.kind == "Embedding" and not torch.tied):
        return None
    made = _kernel(torch.kind, shape, jax.shapes["kernel"], jax.config)
    return None if made is None else plan | {"kernel": (("weight",), *made)}


MATRICES = ("Linear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")


def _kernel(kind: str, shape: Shape, target: Shape, config: dict[str, Any]) -> tuple[Make, str] | None:
    """Return how a torch weight becomes a kernel of a given shape."""
    space = tuple(range(2, len(shape)))
    if len(shape) < 2:
        return None
    if len(shape) == 2:
        fits = math.prod(shape) == math.prod(target) and _groups(target, shape[::-1])
        return (lambda w: w.T.reshape(target), "transpose") if fits else None
    if kind.startswith("ConvTranspose"):
        flipped = (slice(None), slice(None), *[slice(None, None, -1)] * len(space))
        straight = tuple(shape[a] for a in (*space, 1, 0)) == target
        turned = tuple(shape[a] for a in (*space, 0, 1)) == target
        if straight and (config.get("transpose_kernel") or not turned):
            return lambda w: w.transpose(*space, 1, 0), "OI to spatial first"
        return (lambda w: w[flipped].transpose(*space, 0, 1), "flip, spatial first") if turned else None
    fits = tuple(shape[a] for a in (*space, 1, 0)) == target
    return (lambda w: w.transpose(*space, 1, 0), "spatial first") if fits else None


def _groups(target: Shape, wanted: Shape) -> bool:
    """Say whether the axes of ``target`` fall into two groups of the wanted sizes."""
    return any((math.prod(target[:i]), math.prod(target[i:])) == wanted for i in range(1, len(target)))


def _reshape(shape: Shape) -> Make:
    """Return a copy of another shape."""
    return lambda w: w.reshape(shape)


def _bare(torch: TorchUnit, jax: JaxUnit) -> Plan | None:
    """A tensor that is no layer's weight: the same shape, or one with axes of length one more or less."""
    if jax.kind != "parameter":
        # a bare torch vector may be the scale of a hand-written norm
        return None
    ((name, shape),), ((new, target),) = torch.shapes.items(), jax.shapes.items()
    same = tuple(n for n in shape if n != 1) == tuple(n for n in target if n != 1)
    return {new: ((name,), _reshape(target), "copy")} if same else None


def _attention(torch: TorchUnit, jax: JaxUnit) -> Plan | None:
    """Packed projections against query, key, value and out."""
    if not {"query/kernel", "key/kernel", "value/kernel", "out/kernel"} <= set(jax.leaves):
        return None
    if "in_proj_weight" not in torch.leaves:
        return None
    plan: Plan = {}
    for i, part in enumerate(("query", "key", "value")):
        plan[f"{part}/kernel"] = (("in_proj_weight",), _third(i, jax.shapes[f"{part}/kernel"]), "split, transpose")
        if "in_proj_bias" in torch.leaves and f"{part}/bias" in jax.leaves:
            plan[f"{part}/bias"] = (("in_proj_bias",), _third(i, jax.shapes[f"{part}/bias"]), "split")
    target = jax.shapes["out/kernel"]
    plan["out/kernel"] = (("out_proj.weight",), lambda w: w.T.reshape(target), "transpose, heads")
    if "out_proj.bias" in torch.leaves and "out/bias" in jax.leaves:
        plan["out/bias"] = (("out_proj.bias",), _reshape(jax.shapes["out/bias"]), "copy")
    width = torch.shapes["in_proj_weight"][1]
    fits = all(math.prod(jax.shapes[f"{p}/kernel"]) == width * width for p in ("query", "key", "value", "out"))
    return plan if fits and jax.shapes["query/kernel"][0] == width else None


def _third(index: int, target: Shape) -> Make:
    """Return one of three stacked parts, transposed to input first."""

    def make(w: Any) -> Any:
        size = w.shape[0] // 3
        return w[index * size : (index + 1) * size].T.reshape(target)

    return make


def _recurrent(torch: TorchUnit, jax: JaxUnit) -> Plan | None:
    """LSTM and GRU cells: gates apart or stacked, and torch's two biases in JAX's one."""
    rows, hidden = torch.shapes["weight_hh"]
    gates = {4: LSTM_GATES, 3: GRU_GATES}.get(rows // hidden)
    if gates is None or torch.shapes["weight_ih"][0] != rows:
        return None
    if "dense_i/kernel" in jax.leaves:
        return _stacked_gates(torch, jax, gates)
    names = {n.split("/")[0] for n in jax.leaves}
    plan: Plan = {}
    for i, gate in enumerate(gates):
        for side, weight in (("i", "weight_ih"), ("h", "weight_hh")):
            name = next((n for n in (f"{side}{gate}", f"{side}{gate}_") if n in names), None)
            if name is None or jax.shapes[f"{name}/kernel"] != (torch.shapes[weight][1], hidden):
                return None
            plan[f"{name}/kernel"] = ((weight,), _gate(i, hidden), "gate, transpose")
            if f"{name}/bias" in jax.leaves:
                plan[f"{name}/bias"] = _gate_bias(torch, jax, names, i, hidden, side, gate)
    return plan


def _gate_bias(
    torch: TorchUnit, jax: JaxUnit, names: set[str], index: int, hidden: int, side: str, gate: str
) -> tuple[tuple[str, ...], Make, str]:
    """A gate with one bias takes the sum of torch's two; one with a bias on either side keeps them apart."""
    other = {"i": "h", "h": "i"}[side]
    both = any(f"{n}/bias" in jax.leaves for n in (f"{other}{gate}", f"{other}{gate}_") if n in names)
    if both or "bias_hh" not in torch.leaves:
        return (f"bias_{side}h",), _gate(index, hidden), "gate"
    part = _gate(index, hidden)
    return ("bias_ih", "bias_hh"), lambda a, b: part(a) + part(b), "sum of two biases"


def _gate(index: int, hidden: int) -> Make:
    """Return one gate's rows, transposed."""
    return lambda w: w[index * hidden : (index + 1) * hidden].T


def _stacked_gates(torch: TorchUnit, jax: JaxUnit, gates: tuple[str, ...]) -> Plan | None:
    """NNX's optimised cells keep all gates in one kernel, in torch's order."""
    plan: Plan = {
        "dense_i/kernel": (("weight_ih",), lambda w: w.T, "transpose"),
        "dense_h/kernel": (("weight_hh",), lambda w: w.T, "transpose"),
    }
    if any(jax.shapes[name] != torch.shapes[plan[name][0][0]][::-1] for name in plan):
        return None
    biased = [n for n in ("dense_i/bias", "dense_h/bias") if n in jax.leaves]
    if len(biased) == 2 and "bias_hh" in torch.leaves:
        plan |= {n: ((f"bias_{n[6]}h",), lambda b: b, "copy") for n in biased}
    elif len(biased) == 1 and gates == LSTM_GATES:
        pair = tuple(n for n in ("bias_ih", "bias_hh") if n in torch.leaves)
        plan[biased[0]] = (pair, lambda *b: sum(b[1:], b[0]), "sum of two biases")
    return plan
