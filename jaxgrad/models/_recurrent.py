"""Where Flax keeps the tensors of torch's recurrent layers."""

from typing import Any

from jaxgrad.models._fit import Layer, Mismatch, Shapes, dotted, find, join, link
from jaxgrad.models._link import Link

__all__ = ["recurrent"]

GATES = {"LSTM": ("i", "f", "g", "o"), "GRU": ("r", "z", "n"), "RNN": ("",)}
"""The gates in torch's order."""


def recurrent(layer: Layer, node: str, leaves: Shapes, hints: Any) -> list[Link]:  # noqa: ARG001
    """Link gates stacked along the rows, and two biases of which Flax keeps the sum.

    Flax has one layer a gate, ``ii, if, ...`` and ``hi, hf, ...``, or joins them in ``dense_i`` and ``dense_h``.

    Raises:
        Mismatch: If there is no such leaf, or the layer is stacked or runs in two directions.
    """
    module = layer.module
    if getattr(module, "num_layers", 1) != 1 or getattr(module, "bidirectional", False):
        message = f"{layer.name}: only one layer in one direction has a counterpart in Flax"
        raise Mismatch(message)
    kind = next(kind for kind in GATES if type(module).__name__.startswith(kind))
    cell = join(node, "cell") if any(path.startswith(join(node, "cell/")) for path in leaves) else node
    joined = any(path.startswith(join(cell, "dense_i/")) for path in leaves)
    links = []
    for own in layer.shapes:
        side = own.split("_")[1][0]
        links += (_joined if joined else _gate_by_gate)(layer, own, kind, side, cell, leaves)
    return links


def _joined(layer: Layer, own: str, kind: str, side: str, cell: str, leaves: Shapes) -> list[Link]:
    """Link a tensor of all gates to a leaf of all gates."""
    full, shape, other = dotted(layer.name, own), layer.shapes[own], "i" if side == "h" else "h"
    if len(shape) == 2:
        return [link(full, find(cell, leaves, f"dense_{side}/kernel"), leaves, shape, shape, (1, 0))]
    path = find(cell, leaves, f"dense_{side}/bias", f"dense_{other}/bias")
    if kind == "GRU" and side == "h" and path.endswith("dense_i/bias"):
        message = f"{full}: the reset gate scales its last third, for which nnx.GRUCell has no bias"
        raise Mismatch(message)
    return [link(full, path, leaves, shape, shape, (0,))]


def _gate_by_gate(layer: Layer, own: str, kind: str, side: str, cell: str, leaves: Shapes) -> list[Link]:
    """Link the rows of each gate to the leaf of that gate."""
    full, shape, size = dotted(layer.name, own), layer.shapes[own], layer.module.hidden_size
    word, axes = ("kernel", (1, 0)) if len(shape) == 2 else ("bias", (0,))
    rows, links = (size, *shape[1:]), []
    for i, gate in enumerate(GATES[kind]):
        # what stands in a sum has one bias, on either side; the reset gate scales "hn", whose bias is its own
        sides = [side] if word == "kernel" or gate == "n" else [side, "i" if side == "h" else "h"]
        names = [f"{s}{spelled}/{word}" for s in sides for spelled in (gate, f"{gate}_" if gate else "")]
        links.append(link(full, find(cell, leaves, *names), leaves, rows, rows, axes, start=i * size))
    return links
