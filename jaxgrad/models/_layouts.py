"""How the tensors of one torch layer may lie in the leaves of one JAX layer, decided by classes, names and shapes."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from jaxgrad.models._facts import Shape
from jaxgrad.models._groups import Unit
from jaxgrad.models._link import Layout, Link

__all__ = ["Place", "lies", "link_of", "place", "stem"]

FLAX = ("Dense", "DenseGeneral", "Linear", "LinearGeneral", "Einsum", "Conv", "ConvLocal", "ConvTranspose")
"""Flax's own layers, which keep inputs before outputs."""

KNOWN = ("Linear", "Conv1d", "Conv2d", "Conv3d")


class Place(NamedTuple):
    """A layout of a tensor in a leaf."""

    layout: Layout
    turned: bool
    """Whether it is Flax's order (inputs before outputs); otherwise torch's."""
    either: bool
    """Whether the shapes fit the other order too."""
    note: str = ""
    """Why the shapes do not prove it."""


def lies(shape: Shape, target: Shape, axes: Shape, cut: int, flip: Shape = ()) -> Layout | None:
    """Return the layout that permutes the axes, and joins or splits neighbours on either side of a cut; or ``None``.

    Args:
        shape: The shape of the tensor.
        target: The shape of the leaf.
        axes: The tensor's axes in the order of the leaf.
        cut: How many of these stay apart from the rest: inputs are never mixed with outputs.
        flip: Axes of the leaf that run backwards.
    """
    moved = tuple(shape[axis] for axis in axes)
    if math.prod(shape) != math.prod(target):
        return None
    for i in range(len(target) + 1):
        if _regroups(moved[:cut], target[:i]) and _regroups(moved[cut:], target[i:]):
            return Layout(shape, shape, axes, target, flip)
    return None


def _regroups(one: Shape, other: Shape) -> bool:
    """Say whether one shape becomes the other by splitting or joining whole neighbouring axes."""
    if math.prod(one) != math.prod(other):
        return False
    fine, coarse = (one, other) if len(one) >= len(other) else (other, one)
    sizes = [size for size in fine if size != 1]
    for wanted in (size for size in coarse if size != 1):
        product = 1
        while product < wanted and sizes:
            product *= sizes.pop(0)
        if product != wanted:
            return False
    return not sizes


def place(torch: Unit, role: str, jax: Unit, new: str, orders: dict[str, bool]) -> Place | None:
    """Return how a tensor of a torch layer lies in a leaf of a JAX layer, or ``None`` if it does not.

    Args:
        torch: The torch layer.
        role: What the tensor is to it.
        jax: The JAX layer.
        new: What the leaf is to it.
        orders: For names of leaves, whether they keep Flax's order, as leaves of other shapes have shown.
    """
    shape, target = torch.shapes[role], jax.shapes[new]
    kind = torch.kind.removeprefix("own ")
    if role.endswith("weight") and kind.startswith("ConvTranspose") and len(shape) > 2:
        return _transposed_convolution(torch, shape, jax, target)
    found = list(_orders(kind, role, shape, target))
    if not found:
        return None
    if len(found) == 1:
        layout, turned = found[0]
        return Place(layout, turned, False)
    wanted = _wanted(jax, new, orders)
    layout, turned = next((item for item in found if item[1] == wanted), found[0])
    # Flax's own layer for torch's own: both are documented
    known = jax.config.get("by_flax") and not torch.kind.startswith("own ") and kind.endswith(KNOWN)
    return Place(layout, turned, True, "" if known else _doubt(layout))


def _doubt(layout: Layout) -> str:
    """Say why two orders of axes cannot be told apart by shapes."""
    if layout.axes == (1, 0) or len(layout.axes) == 2:
        return "square kernel: the shapes do not tell it from its transpose"
    return "the shapes fit another order of the axes too"


def _orders(kind: str, role: str, shape: Shape, target: Shape) -> Iterator[tuple[Layout, bool]]:
    """Yield the layouts that fit, the most likely first, and whether each is in Flax's order."""
    n, straight = len(shape), tuple(range(len(shape)))
    if n < 2 or not role.endswith(("weight", "value")):
        if _regroups(shape, target):
            yield Layout(shape, shape, straight, target), True
        return
    flax, torch = (*range(2, n), 1, 0), (*range(1, n), 0)
    same = [size for size in shape if size != 1] == [size for size in target if size != 1]
    if kind in ("Embedding", "EmbeddingBag"):
        options = [(straight, 1, True)] if same else [((1, 0), 1, True)]
    elif kind == "Linear, inputs first":
        options = [(straight, 1, True), ((1, 0), 1, False)]
    elif kind.endswith("Linear"):
        options = [((1, 0), 1, True), (straight, 1, False)]
    elif kind.startswith(("Conv", "LazyConv")) and n > 2:
        options = [(flax, n - 1, True), (straight, 1, False)]
    elif kind == "Bilinear":
        options = [(straight, 1, True), (torch, n - 1, True)]
    elif same and target[::-1] != shape:
        options = [(straight, n, True)]
    elif same:
        # a matrix that a model holds itself: as it is, unless that is a transpose too
        options = [(straight, n, True), (straight[::-1], n, False)] if n == 2 else [(straight, n, True)]
    else:
        options = [(flax, n - 1, True)] + ([((0, *range(2, n), 1), n, True)] if n > 2 else [])
    seen: set[tuple[Shape, Shape]] = set()
    for axes, cut, turned in options:
        layout = lies(shape, target, axes, cut)
        if layout is not None and (axes, target) not in seen:
            seen.add((axes, target))
            yield layout, turned


def _wanted(jax: Unit, new: str, orders: dict[str, bool]) -> bool:
    """Say whether a leaf is likely to keep Flax's order, where its shape fits both."""
    path = jax.leaves[new]
    name = path.rpartition("/")[2].rpartition(".")[2]
    if jax.kind in FLAX or name == "kernel":
        return True
    return orders.get(stem(path), name != "weight")


def stem(path: str) -> str:
    """Return the name of a leaf without what tells it from its like: ``w1`` and ``w2`` are laid out alike."""
    return "".join(c for c in path.rpartition("/")[2].rpartition(".")[2] if not c.isdigit())


def _transposed_convolution(torch: Unit, shape: Shape, jax: Unit, target: Shape) -> Place | None:
    """``I, O, *window`` to ``*window, O, I`` where Flax transposes, else to ``*window, I, O`` run backwards."""
    span = tuple(range(2, len(shape)))
    said = torch.config.get("transposed")
    said = jax.config.get("transpose_kernel") if said is None else said
    forward = Layout(shape, shape, (*span, 1, 0), target) if _moved(shape, (*span, 1, 0)) == target else None
    backward = None
    if _moved(shape, (*span, 0, 1)) == target:
        # Flax runs its transposed convolution with the window the other way round
        backward = Layout(shape, shape, (*span, 0, 1), target, tuple(range(len(span))))
    if said is not None:
        layout = forward if said else backward
        return None if layout is None else Place(layout, bool(said), False)
    if forward is not None and backward is not None:
        # the default of Flax's layer
        return Place(backward, False, True, "as many channels in as out: transpose_kernel is not known")
    layout = backward or forward
    return None if layout is None else Place(layout, layout is forward, False)


def _moved(shape: Shape, axes: Shape) -> Shape:
    """Return a shape with its axes permuted."""
    return tuple(shape[axis] for axis in axes)


def link_of(torch: Unit, role: str, jax: Unit, new: str, found: Place) -> Link:
    """Return the link of a place."""
    return Link(torch.leaves[role], jax.leaves[new], found.layout)
