"""Whether a torch tensor can lie in a JAX leaf, decided by names and shapes."""

import math
from typing import Any, NamedTuple

from jaxgrad.models._link import Layout, Link

__all__ = ["Layer", "Mismatch", "Shape", "Shapes", "dotted", "find", "join", "link", "plain", "window"]

Shape = tuple[int, ...]
Shapes = dict[str, Shape]


class Mismatch(Exception):  # noqa: N818 - an answer, not a failure: another node may fit
    """A torch layer and a node of the tree that do not fit, with the reason."""


class Layer(NamedTuple):
    """A torch module that holds parameters itself."""

    module: Any
    name: str
    """Its name in the whole module, ``encoder.fc1``; empty for the whole."""
    shapes: Shapes
    """The shapes of its parameters by their own names, ``weight``, in torch's order; of tied ones the first alone."""


def join(*parts: str) -> str:
    """Join the parts of a path that are not empty."""
    return "/".join(part for part in parts if part)


def dotted(*parts: str) -> str:
    """Join the parts of a torch name that are not empty."""
    return ".".join(part for part in parts if part)


def find(node: str, leaves: Shapes, *names: str) -> str:
    """Return the path of the first leaf of a node that has one of the names.

    Raises:
        Mismatch: If there is none.
    """
    for name in names:
        if join(node, name) in leaves:
            return join(node, name)
    message = f"{node or 'the tree'} has no {' or '.join(names)}"
    raise Mismatch(message)


def link(
    name: str, path: str, leaves: Shapes, shape: Shape, split: Shape, axes: Shape, start: int | None = None
) -> Link:
    """Link a tensor whose axes, once split and permuted, fill a leaf in order.

    Raises:
        Mismatch: If they do not.
    """
    if math.prod(shape) != math.prod(split) or not _regroups(tuple(split[axis] for axis in axes), leaves[path]):
        message = f"{name} {list(shape)} cannot lie in {path} {list(leaves[path])}"
        raise Mismatch(message)
    return Link(name, path, Layout(shape, split, axes, leaves[path]), start)


def _regroups(one: Shape, other: Shape) -> bool:
    """Say whether one shape becomes the other by splitting or joining whole neighbouring axes."""
    fine, coarse = (one, other) if len(one) >= len(other) else (other, one)
    sizes = [size for size in fine if size != 1]
    for wanted in (size for size in coarse if size != 1):
        product = 1
        while product < wanted and sizes:
            product *= sizes.pop(0)
        if product != wanted:
            return False
    return not sizes


def plain(name: str, path: str, leaves: Shapes, shape: Shape) -> Link:
    """Link a tensor that keeps the order of its entries.

    Raises:
        Mismatch: If the shapes differ by more than the grouping of neighbouring axes.
    """
    return link(name, path, leaves, shape, shape, tuple(range(len(shape))))


def window(name: str, path: str, leaves: Shapes, shape: Shape, axes: Shape, flip: Shape = ()) -> Link:
    """Link a kernel with a window, whose axes are neither split nor joined.

    Raises:
        Mismatch: If the permuted shape is not that of the leaf.
    """
    if leaves[path] != tuple(shape[axis] for axis in axes):
        message = f"{name} {list(shape)} cannot lie in {path} {list(leaves[path])}"
        raise Mismatch(message)
    return Link(name, path, Layout(shape, shape, axes, leaves[path], flip))
