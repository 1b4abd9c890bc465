"""How the weights of a torch layer become those of a JAX layer, in the layouts of `jaxgrad.models`.

Unlike `jaxgrad.models.mapping_for`, which refuses what does not correspond, a layer may lack its bias or its scale on
one side: that is a difference to be reported.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

from jaxgrad.models import Layout, Link
from jaxgrad.models._recurrent import GATES
from jaxgrad.verify.port.mapping._units import JaxUnit, TorchUnit

__all__ = ["Entry", "convert", "entry_of", "spare"]

Shape = tuple[int, ...]
GATED = {len(gates): gates for gates in (GATES["LSTM"], GATES["GRU"])}
"""The gates in torch's order, by their number."""
MATRICES = ("Linear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")
OPTIONAL = {"bias", "scale"}
"""Leaves of a JAX layer that torch's layer may lack."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One JAX leaf and where it comes from."""

    jax: str
    """The leaf's path."""
    torch: tuple[str, ...]
    """The names of the torch tensors that it is made of."""
    make: Callable[..., Any]
    """Makes the leaf from those tensors; linear, and at home with arrays of NumPy and of JAX."""
    rule: str
    """The rule in words, such as ``permute(1, 0)``."""
    ambiguous: str = ""
    """Why the shapes alone do not prove this entry; empty where they do."""
    links: tuple[Link, ...] = ()
    """What `make` does, where no rule of the user's says it."""


def entry_of(path: str, links: tuple[Link, ...]) -> Entry:
    """Return the entry of a leaf that is the sum of what links bring."""

    def make(*tensors: Any) -> Any:
        parts = [link.layout.to_jax(w[link.index()]) for link, w in zip(links, tensors, strict=True)]
        return sum(parts[1:], parts[0])

    layout, part = links[0].layout, "" if links[0].start is None else f"rows {links[0].start}:{links[0].stop}, "
    square = layout.axes == (1, 0) and len({*layout.torch_shape, *layout.jax_shape}) == 1
    note = "square kernel: the shapes do not tell it from its transpose" if square else ""
    several = "sum of two: " if len(links) > 1 else ""
    return Entry(path, tuple(link.name for link in links), make, f"{several}{part}{layout}", note, links)


def convert(torch: TorchUnit, jax: JaxUnit) -> list[Entry] | None:
    """Return the entries that fill a JAX layer from a torch layer, or ``None`` if they do not fit.

    What either layer lacks is found by whoever counts.
    """
    if torch.kind in ("MultiheadAttention", "packed"):
        find = _attention
    elif "weight_ih" in torch.leaves:
        find = _recurrent
    else:
        find = _bare if torch.kind == "parameter" else _plain
    try:
        links = list(find(torch, jax))
    except (_Unlike, KeyError):
        return None
    filled: dict[str, list[Link]] = {}
    for link in links:
        filled.setdefault(link.path, []).append(link)
    left = {name for name, path in jax.leaves.items() if path not in filled}
    used = {link.name for link in links}
    rest = {name for name, key in torch.leaves.items() if key not in used}
    if not links or not left <= OPTIONAL or not rest <= {"bias", "weight"}:
        return None
    return [entry_of(path, tuple(found)) for path, found in filled.items()]


def spare(torch: TorchUnit, jax: JaxUnit, entries: list[Entry]) -> int:
    """Count the leaves on either side that entries leave over."""
    used = {key for e in entries for key in e.torch}
    return len(set(torch.leaves.values()) - used) + len(jax.leaves) - len(entries)


class _Unlike(Exception):  # noqa: N818 - an answer, not a failure: another layer may fit
    """Two layers that do not fit."""


def _link(torch: TorchUnit, own: str, jax: JaxUnit, new: str, axes: Shape, rows: tuple[int, int] | None = None) -> Link:
    """Link a tensor, or ``rows`` (a start and a length) of it, whose permuted axes fill a leaf in order."""
    shape, target = torch.shapes[own], jax.shapes[new]
    start, shape = (None, shape) if rows is None else (rows[0], (rows[1], *shape[1:]))
    if math.prod(shape) != math.prod(target):
        raise _Unlike
    return Link(torch.leaves[own], jax.leaves[new], Layout(shape, shape, axes, target), start)


def _same(torch: TorchUnit, own: str, jax: JaxUnit, new: str) -> Link:
    """Link a tensor that keeps the order of its entries."""
    return _link(torch, own, jax, new, tuple(range(len(torch.shapes[own]))))


def _plain(torch: TorchUnit, jax: JaxUnit) -> Iterator[Link]:
    """Linear, convolution, norm, embedding, PReLU."""
    for name, new in {"bias": "bias", "running_mean": "mean", "running_var": "var"}.items():
        if name in torch.leaves and (new in jax.leaves or new != "bias"):
            yield _same(torch, name, jax, new)
    if "weight" not in torch.leaves:
        return
    new = next((n for n in ("scale", "embedding", "negative_slope") if n in jax.leaves), "kernel")
    if new == "embedding":
        table = torch.kind in ("Embedding", "EmbeddingBag") or (torch.tied and len(torch.shapes["weight"]) == 2)
        if not table or torch.shapes["weight"] != jax.shapes[new]:
            raise _Unlike
    elif new != "kernel":
        if torch.kind in (*MATRICES, "Embedding", "EmbeddingBag"):
            raise _Unlike
    elif set(jax.leaves) == {"bias"} and torch.kind not in MATRICES:
        return
    elif torch.kind == "Embedding" and not torch.tied:
        raise _Unlike
    yield _kernel(torch, jax) if new == "kernel" else _same(torch, "weight", jax, new)


def _kernel(torch: TorchUnit, jax: JaxUnit) -> Link:
    """A matrix or a kernel with a window: torch keeps outputs first, Flax last."""
    shape, target = torch.shapes["weight"], jax.shapes["kernel"]
    space = tuple(range(2, len(shape)))
    if len(shape) <= 2:
        if not _groups(target, shape[::-1]) or len(shape) < 2:
            raise _Unlike
        return _link(torch, "weight", jax, "kernel", (1, 0))
    forward, turned = ((*space, 1, 0), (*space, 0, 1))
    fits = {axes: tuple(shape[a] for a in axes) == target for axes in (forward, turned)}
    backwards = torch.kind.startswith("ConvTranspose") and not jax.config.get("transpose_kernel") and fits[turned]
    if backwards:
        # Flax runs its transposed convolution with the window the other way round
        layout = Layout(shape, shape, turned, target, tuple(range(len(space))))
        return Link(torch.leaves["weight"], jax.leaves["kernel"], layout)
    if not fits[forward]:
        raise _Unlike
    return _link(torch, "weight", jax, "kernel", forward)


def _groups(target: Shape, wanted: Shape) -> bool:
    """Say whether the axes of ``target`` fall into two groups of the wanted sizes."""
    return any((math.prod(target[:i]), math.prod(target[i:])) == wanted for i in range(1, len(target)))


def _bare(torch: TorchUnit, jax: JaxUnit) -> Iterator[Link]:
    """A tensor that is no layer's weight: the same shape, or one with axes of length one more or less."""
    ((name, shape),), (new, *others) = torch.shapes.items(), jax.shapes
    same = [n for n in shape if n != 1] == [n for n in jax.shapes[new] if n != 1]
    if jax.kind != "parameter" or others or not same:
        raise _Unlike
    yield _same(torch, name, jax, new)


def _attention(torch: TorchUnit, jax: JaxUnit) -> Iterator[Link]:
    """Projections of queries, keys and values, packed or apart, and that of the output."""
    packed = "in_proj.weight" in torch.leaves
    width = torch.shapes["in_proj.weight" if packed else "q.weight"][1]
    if jax.shapes["query/kernel"][0] != width:
        raise _Unlike
    for i, part in enumerate(("query", "key", "value")):
        own, rows = ("in_proj", (i * width, width)) if packed else (part[0], None)
        yield _link(torch, f"{own}.weight", jax, f"{part}/kernel", (1, 0), rows)
        if f"{own}.bias" in torch.leaves and f"{part}/bias" in jax.leaves:
            yield _link(torch, f"{own}.bias", jax, f"{part}/bias", (0,), rows)
    yield _link(torch, "out_proj.weight", jax, "out/kernel", (1, 0))
    if "out_proj.bias" in torch.leaves and "out/bias" in jax.leaves:
        yield _same(torch, "out_proj.bias", jax, "out/bias")


def _recurrent(torch: TorchUnit, jax: JaxUnit) -> Iterator[Link]:
    """LSTM and GRU cells: gates apart or stacked, and torch's two biases in JAX's one."""
    rows, hidden = torch.shapes["weight_hh"]
    gates = GATED.get(rows // hidden, ())
    if not gates or torch.shapes["weight_ih"][0] != rows:
        raise _Unlike
    if "dense_i/kernel" in jax.leaves:
        yield from _stacked_gates(torch, jax, gates)
        return
    for i, gate in enumerate(gates):
        span = (i * hidden, hidden)
        # "if" and "in" are words of Python, which Flax writes "if_" and "in_"
        names = {side: f"{side}{gate}_" if f"{side}{gate}_/kernel" in jax.leaves else f"{side}{gate}" for side in "ih"}
        for side, name in names.items():
            if jax.shapes[f"{name}/kernel"] != (torch.shapes[f"weight_{side}h"][1], hidden):
                raise _Unlike
            yield _link(torch, f"weight_{side}h", jax, f"{name}/kernel", (1, 0), span)
        biased = [side for side, name in names.items() if f"{name}/bias" in jax.leaves]
        for side in biased:
            # where JAX has one bias it takes both of torch's
            for own in ("i", "h") if len(biased) == 1 else (side,):
                if f"bias_{own}h" in torch.leaves:
                    yield _link(torch, f"bias_{own}h", jax, f"{names[side]}/bias", (0,), span)


def _stacked_gates(torch: TorchUnit, jax: JaxUnit, gates: tuple[str, ...]) -> Iterator[Link]:
    """NNX's optimised cells keep all gates in one kernel, in torch's order."""
    for side in "ih":
        if jax.shapes[f"dense_{side}/kernel"] != torch.shapes[f"weight_{side}h"][::-1]:
            raise _Unlike
        yield _link(torch, f"weight_{side}h", jax, f"dense_{side}/kernel", (1, 0))
    biased = [side for side in "ih" if f"dense_{side}/bias" in jax.leaves]
    for side in biased:
        # the reset gate of a GRU scales one of its biases, so that only an LSTM's can be added up
        for own in ("i", "h") if len(biased) == 1 and len(gates) == 4 else (side,):
            if f"bias_{own}h" in torch.leaves:
                yield _same(torch, f"bias_{own}h", jax, f"dense_{side}/bias")
