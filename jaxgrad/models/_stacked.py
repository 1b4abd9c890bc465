"""Layers that JAX keeps in one leaf, stacked for a scan, where torch has a list of them.

Such leaves are searched for as if they stood apart, one for each layer, and are joined again afterwards.
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import NamedTuple

from jaxgrad.models._facts import JaxFacts, Shape, TorchFacts
from jaxgrad.models._link import Link

__all__ = ["Slice", "apart", "joined", "stacks"]

STATISTICS = "batch_stats/"


class Slice(NamedTuple):
    """One layer's part of a stacked leaf."""

    path: str
    """The leaf."""
    shape: Shape
    """Its shape."""
    axis: int
    """The axis along which the layers lie."""
    place: int
    """The layer's place."""
    front: str
    """What stands before the layer's number in the name that it is searched by."""

    @property
    def number(self) -> str:
        """The layer's number with what stands before it."""
        return f"{self.front}{self.place}/"


class Stack(NamedTuple):
    """Leaves below a path that all hold as many layers."""

    path: str
    axis: int
    length: int


def stacks(torch: TorchFacts, jax: JaxFacts, unfilled: tuple[str, ...]) -> Iterator[Stack]:
    """Yield what may be a stack: leaves with an axis as long as a list of torch's, those nearest the root first."""
    lengths = _lengths(torch)
    plain = {path: path.removeprefix(STATISTICS) for path in jax.shapes}
    parts = [plain.get(path, path).split("/") for path in unfilled]
    above = {"/".join(names[:n]) for names in parts for n in range(len(names))}
    for node in sorted(above, key=lambda path: (path.count("/") + bool(path), path)):
        shapes = [shape for path, shape in jax.shapes.items() if _below(plain[path], node)]
        deeper = {"/".join(plain[path].split("/")[: node.count("/") + bool(node) + 1]) for path in plain
                  if _below(plain[path], node)}  # fmt: skip
        if len(deeper) == 1 and deeper <= above:
            # the same leaves lie below a longer name, which the layers' numbers follow
            continue
        for axis in (0, 1):
            sizes = {shape[axis] if len(shape) > axis else 0 for shape in shapes}
            if len(sizes) == 1 and (length := sizes.pop()) in lengths:
                yield Stack(node, axis, length)


def _below(path: str, node: str) -> bool:
    """Say whether a leaf lies below a node."""
    return not node or path.startswith(f"{node}/")


def _lengths(torch: TorchFacts) -> set[int]:
    """Return how many layers torch's lists have whose members hold the same tensors."""
    lists: dict[str, dict[int, set[tuple[str, Shape]]]] = {}
    for key, shape in torch.shapes.items():
        for match in re.finditer(r"(?<![^.])(\d+)\.", key):
            prefix, index, rest = key[: match.start()], int(match[1]), key[match.end() :]
            lists.setdefault(prefix, {}).setdefault(index, set()).add((rest, shape))
    found = set()
    for members in lists.values():
        alike = len({frozenset(held) for held in members.values()}) == 1
        if len(members) > 1 and alike and set(members) == set(range(len(members))):
            found.add(len(members))
    return found


def apart(jax: JaxFacts, stack: Stack) -> tuple[JaxFacts, dict[str, Slice]]:
    """Return facts in which the layers of a stack stand apart, and what their leaves are slices of."""
    shapes: dict[str, Shape] = {}
    slices: dict[str, Slice] = {}
    front = f"{stack.path}/" if stack.path else ""
    for path, shape in jax.shapes.items():
        plain = path.removeprefix(STATISTICS)
        if not _below(plain, stack.path):
            shapes[path] = shape
            continue
        start, rest = path[: len(path) - len(plain)], plain.removeprefix(front)
        for i in range(stack.length):
            name = f"{start}{front}{i}/{rest}"
            shapes[name] = shape[: stack.axis] + shape[stack.axis + 1 :]
            slices[name] = Slice(path, shape, stack.axis, i, front)
    inside = {path: at for path, at in jax.order.items() if _below(path.removeprefix(STATISTICS), stack.path)}
    first, last = min(inside.values(), default=0), max(inside.values(), default=0)
    span = last - first + 1
    order = {p: at + (span * (stack.length - 1) if at > last else 0) for p, at in jax.order.items() if p not in inside}
    stacked = {p: c for p, c in jax.configs.items() if p and _below(p, stack.path)}
    configs = {p: c for p, c in jax.configs.items() if p not in stacked}
    for i in range(stack.length):
        order |= {f"{front}{i}/{path.removeprefix(front)}": at + i * span for path, at in inside.items()}
        configs |= {f"{front}{i}/{p.removeprefix(front)}": c for p, c in stacked.items()}
    loose = {name for name, part in slices.items() if part.path in jax.loose} | (jax.loose & shapes.keys())
    return JaxFacts(shapes, configs, order, frozenset(loose)), slices


def joined(link: Link, slices: dict[str, Slice]) -> Link:
    """Return a link to one layer's leaf as one to its part of the stack."""
    part = slices.get(link.path)
    if part is None:
        return link
    pads = list(link.layout.pads or [(0, 0)] * len(link.layout.jax_shape))
    pads.insert(part.axis, (part.place, part.shape[part.axis] - part.place - 1))
    layout = dataclasses.replace(link.layout, jax_shape=part.shape, pads=tuple(pads))
    return dataclasses.replace(link, path=part.path, layout=layout)
