"""How the tensors of one torch layer fill one JAX layer."""

import dataclasses
import math
from collections.abc import Iterator

from jaxgrad.models._groups import GATES, Unit
from jaxgrad.models._layouts import Place, lies, link_of, place
from jaxgrad.models._link import Layout, Link

__all__ = ["Fit", "convert"]

GATED = {len(gates): gates for gates in GATES.values()}
"""The gates in torch's order, by their number."""
OPTIONAL = {"bias", "g", "mean", "var"}
"""What one layer may have and the other lack: a difference to be told, and no reason to pair neither."""


@dataclasses.dataclass(frozen=True)
class Fit:
    """How a torch layer fills a JAX layer."""

    links: tuple[Link, ...]
    doubts: dict[str, str]
    """For leaves of which shapes do not prove the layout, why."""
    orders: dict[str, bool]
    """For leaves whose shapes show it, whether they keep Flax's order."""
    spare: int
    """How many tensors and leaves are left over."""
    strange: int = 0
    """How many leaves are filled whose names say nothing of what they are."""


class Unlike(Exception):  # noqa: N818 - an answer, not a failure: another layer may fit
    """Two layers that do not fit."""


def convert(torch: Unit, jax: Unit, orders: dict[str, bool]) -> Fit | None:
    """Return how a torch layer fills a JAX layer, or ``None`` if they do not fit.

    Args:
        torch: The torch layer.
        jax: The JAX layer.
        orders: For names of leaves, whether they keep Flax's order, as leaves of other shapes have shown.
    """
    if torch.whole != jax.whole or (torch.whole and torch.kind != jax.kind):
        return None
    found: dict[str, Place] = {}
    try:
        if torch.kind == "attention":
            links = list(_attention(torch, jax))
        elif torch.kind == "cell":
            links = list(_cell(torch, jax))
        else:
            found = _plain(torch, jax, orders)
            links = [link_of(torch, role, jax, new, found[f"{role} {new}"]) for role, new in map(str.split, found)]
    except (Unlike, KeyError):
        return None
    filled, used = {link.path for link in links}, {link.name for link in links}
    left = {name for name, path in jax.leaves.items() if path not in filled}
    rest = {name for name, key in torch.leaves.items() if key not in used and name not in torch.shared}
    if not links or not {name.rpartition(".")[2] for name in left | rest} <= OPTIONAL | {"weight"}:
        return None
    if any(name.endswith("weight") for name in left) and any(name.endswith("weight") for name in rest):
        return None
    if any(name.endswith("weight") and len(unit.shapes[name]) > 1 for unit, names in ((torch, rest), (jax, left))
           for name in names):  # fmt: skip
        return None
    pairs = [(jax.leaves[key.split()[1]], value) for key, value in found.items()]
    return Fit(
        tuple(links),
        {path: value.note for path, value in pairs if value.note},
        {path: value.turned for path, value in pairs if not value.either and len(value.layout.axes) > 1},
        len(left) + len(rest),
        sum(key.split()[0] != key.split()[1] for key in found),
    )


def _plain(torch: Unit, jax: Unit, orders: dict[str, bool]) -> dict[str, Place]:
    """Place every tensor in the leaf that plays the same part; keys are both parts."""
    roles = [(role, role) for role in torch.leaves if role in jax.leaves]
    if len(torch.leaves) == 1 and not roles:
        # a bare tensor may be anything on the other side, but no statistic
        roles = [(own, new) for own in torch.leaves for new in jax.leaves if not {own, new} & {"mean", "var"}]
        roles = [(own, new) for own, new in roles if "value" in (own, new)]
        roles = roles if len(jax.leaves) == 1 else []
    elif not roles and len(jax.leaves) == 1 and "value" in jax.leaves and "weight" in torch.leaves:
        roles = [("weight", "value")]
    found = {}
    for role, new in roles:
        where = place(torch, role, jax, new, orders)
        if where is None:
            raise Unlike
        found[f"{role} {new}"] = where
    if "Embedding" in torch.kind and not torch.tied and jax.kind not in ("", "Embed", "parameter"):
        raise Unlike
    return found


def _rows(torch: Unit, own: str, jax: Unit, new: str, rows: tuple[int, int] | None = None) -> Link:
    """Link a tensor, or ``rows`` (a start and a length) of it: matrices with inputs first, vectors as they are.

    Raises:
        Unlike: If the shapes do not fit.
    """
    shape, target = torch.shapes[own], jax.shapes[new]
    start, shape = (None, shape) if rows is None else (rows[0], (rows[1], *shape[1:]))
    # a projection may be a convolution of one pixel: its window comes first
    n = len(shape)
    layout = lies(shape, target, (*range(2, n), 1, 0), n - 1) if n > 1 else lies(shape, target, (0,), 1)
    if layout is None and n > 1:
        layout = lies(shape, target, tuple(range(n)), 1)
    if layout is None:
        raise Unlike
    return Link(torch.leaves[own], jax.leaves[new], layout, start)


def _block(torch: Unit, own: str, jax: Unit, new: str, start: int, total: int) -> Link:
    """Link a tensor to a part of a leaf that holds several side by side.

    Args:
        torch: The torch layers.
        own: The tensor, whose first axis is that of the outputs.
        jax: The JAX layers.
        new: The leaf.
        start: The first of the leaf's outputs that the tensor makes.
        total: How many outputs the leaf has.

    Raises:
        Unlike: If the shapes do not fit.
    """
    shape, target = torch.shapes[own], jax.shapes[new]
    inputs = math.prod(shape[1:])
    for axes, first in (((*range(1, len(shape)), 0), inputs), (tuple(range(len(shape))), 1)):
        # the outputs take the axes from the one before which as many entries lie as there are inputs
        at = next((i for i in range(len(target)) if math.prod(target[:i]) == first), None)
        if at is None or math.prod(target) != inputs * total:
            continue
        step = math.prod(target[at:]) // target[at] // (1 if first == inputs else inputs)
        if start % step or shape[0] % step:
            continue
        here = (start // step, (total - start - shape[0]) // step)
        part = (*target[:at], shape[0] // step, *target[at + 1 :])
        layout = lies(shape, part, axes, len(shape) - 1 if first == inputs else 1)
        if layout is not None:
            pads = tuple(here if i == at else (0, 0) for i in range(len(target)))
            return Link(torch.leaves[own], jax.leaves[new], dataclasses.replace(layout, jax_shape=target, pads=pads))
    raise Unlike


def _attention(torch: Unit, jax: Unit) -> Iterator[Link]:
    """Projections of queries, keys and values, packed or apart, and that of the output; each may lack its bias.

    Raises:
        Unlike: If both sides are packed, and so are linked as plain layers, or the shapes do not fit.
    """
    packed = [unit for unit in (torch, jax) if "in.weight" in unit.shapes]
    if len(packed) == 2:
        raise Unlike
    if packed == [torch]:
        inputs = math.prod(torch.shapes["in.weight"][1:])
        sizes = [math.prod(jax.shapes[f"{part}.weight"]) // inputs for part in "qkv"]
    else:
        sizes = [torch.shapes[f"{part}.weight"][0] for part in "qkv"]
    if packed == [torch] and torch.shapes["in.weight"][0] != sum(sizes):
        raise Unlike
    for i, part in enumerate("qkv"):
        start = sum(sizes[:i])
        for name in ("weight", "bias"):
            own, new = f"{part}.{name}", f"{part}.{name}"
            if packed == [jax]:
                if own in torch.shapes and f"in.{name}" in jax.shapes:
                    yield _block(torch, own, jax, f"in.{name}", start, sum(sizes))
            elif own not in torch.shapes and f"in.{name}" in torch.shapes:
                if new in jax.shapes:
                    yield _rows(torch, f"in.{name}", jax, new, (start, sizes[i]))
            elif own in torch.shapes and (new in jax.shapes or name == "weight"):
                yield _rows(torch, own, jax, new)
    yield _rows(torch, "out.weight", jax, "out.weight")
    if "out.bias" in torch.shapes and "out.bias" in jax.shapes:
        yield _rows(torch, "out.bias", jax, "out.bias")


def _cell(torch: Unit, jax: Unit) -> Iterator[Link]:
    """LSTM, GRU and plain cells: gates apart or together, and torch's two biases in JAX's one."""
    rows, hidden = torch.shapes["h.weight"]
    gates = GATED.get(rows // hidden, ())
    if not gates or torch.shapes["i.weight"][0] != rows:
        raise Unlike
    if "i.weight" in jax.shapes:
        yield from _gates_together(torch, jax, gates)
        return
    for i, gate in enumerate(gates):
        span = (i * hidden, hidden)
        for side in "ih":
            if math.prod(jax.shapes[f"{side}{gate}.weight"]) != torch.shapes[f"{side}.weight"][1] * hidden:
                raise Unlike
            yield _rows(torch, f"{side}.weight", jax, f"{side}{gate}.weight", span)
        biased = [side for side in "ih" if f"{side}{gate}.bias" in jax.shapes]
        for side in biased:
            # where JAX has one bias it takes both of torch's
            for own in ("i", "h") if len(biased) == 1 and gate != "n" else (side,):
                if f"{own}.bias" in torch.shapes:
                    yield _rows(torch, f"{own}.bias", jax, f"{side}{gate}.bias", span)


def _gates_together(torch: Unit, jax: Unit, gates: tuple[str, ...]) -> Iterator[Link]:
    """Cells that keep all gates in one kernel, in torch's order."""
    for side in "ih":
        yield _rows(torch, f"{side}.weight", jax, f"{side}.weight")
    biased = [side for side in "ih" if f"{side}.bias" in jax.shapes]
    for side in biased:
        for own in ("i", "h") if len(biased) == 1 else (side,):
            if f"{own}.bias" not in torch.shapes:
                continue
            # the reset gate of a GRU scales the last third of one bias, which no sum can hold
            scaled = len(gates) == 3 and own != side
            yield (
                _part(torch, f"{own}.bias", jax, f"{side}.bias")
                if scaled
                else _rows(torch, f"{own}.bias", jax, f"{side}.bias")
            )


def _part(torch: Unit, own: str, jax: Unit, new: str) -> Link:
    """Link the first two thirds of a bias to the first two thirds of a leaf; the rest of the leaf gets nothing.

    Raises:
        Unlike: If the leaf is no vector.
    """
    (size,), target = torch.shapes[own], jax.shapes[new]
    if len(target) != 1:
        raise Unlike
    rows = size // 3 * 2
    layout = Layout((rows,), (rows,), (0,), target, pads=((0, target[0] - rows),))
    return Link(torch.leaves[own], jax.leaves[new], layout, 0)
