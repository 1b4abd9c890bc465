"""Where Flax keeps the tensors of each kind of torch layer, and in which layout."""

from collections.abc import Callable
from typing import Any

from jaxgrad.models._fit import Layer, Mismatch, Shape, Shapes, dotted, find, link, plain, window
from jaxgrad.models._link import Link
from jaxgrad.models._recurrent import recurrent

__all__ = ["links_of"]

Hints = dict[str, dict[str, Any]]

WEIGHTS = ("kernel", "embedding", "scale", "weight", "negative_slope")
"""What Flax calls the array that torch calls ``weight``; a leaf called ``weight`` itself is kept in torch's layout."""


def links_of(layer: Layer, node: str, leaves: Shapes, hints: Hints) -> list[Link]:
    """Link the tensors of a torch layer to the leaves below a node of the tree.

    Args:
        layer: The torch layer; only its class, sizes and shapes count.
        node: The path of the node.
        leaves: The shapes of the whole tree by path.
        hints: ``flattened`` and ``transposed`` of `mapping_for`.

    Returns:
        One link or more for every tensor of the layer.

    Raises:
        Mismatch: If a leaf is not there or its shape does not fit.
    """
    bases = type(layer.module).__mro__
    kinds = {base.__name__ for base in bases if base.__module__.startswith("torch.nn.modules")}
    convention = next((CONVENTIONS[kind] for kind in CONVENTIONS if kind in kinds), _as_it_is)
    return convention(layer, node, leaves, hints)


def _weight_and_bias(layer: Layer, node: str, leaves: Shapes, weight: Callable[[str, str, Shape], Link]) -> list[Link]:
    """Link ``weight`` in the layout of its layer and everything else as it is."""
    links = []
    for own, shape in layer.shapes.items():
        path = find(node, leaves, *(WEIGHTS if own == "weight" else (own,)))
        rearranged = own == "weight" and not path.endswith("weight")
        full = dotted(layer.name, own)
        links.append(weight(full, path, shape) if rearranged else plain(full, path, leaves, shape))
    return links


def _as_it_is(layer: Layer, node: str, leaves: Shapes, hints: Hints) -> list[Link]:  # noqa: ARG001
    """Norms, embeddings and the parameters that a module holds itself: the same order of entries."""
    return _weight_and_bias(layer, node, leaves, lambda full, path, shape: plain(full, path, leaves, shape))


def _linear(layer: Layer, node: str, leaves: Shapes, hints: Hints) -> list[Link]:
    """``(out, in)`` to ``(in, out)``; after a flattened image the inputs go from C, H, W to H, W, C."""
    image = tuple(hints["flattened"].get(layer.name, ()))

    def weight(full: str, path: str, shape: Shape) -> Link:
        if not image:
            return link(full, path, leaves, shape, shape, (1, 0))
        return link(full, path, leaves, shape, (shape[0], *image), (*range(2, len(image) + 1), 1, 0))

    return _weight_and_bias(layer, node, leaves, weight)


def _convolution(layer: Layer, node: str, leaves: Shapes, hints: Hints) -> list[Link]:  # noqa: ARG001
    """``O, I / groups, *window`` to ``*window, I / groups, O``."""

    def weight(full: str, path: str, shape: Shape) -> Link:
        return window(full, path, leaves, shape, (*range(2, len(shape)), 1, 0))

    return _weight_and_bias(layer, node, leaves, weight)


def _transposed_convolution(layer: Layer, node: str, leaves: Shapes, hints: Hints) -> list[Link]:
    """``I, O, *window`` to ``*window, O, I`` where Flax transposes, else to ``*window, I, O`` run backwards."""
    if layer.module.groups != 1:
        message = f"{layer.name} has groups, which Flax's ConvTranspose does not know"
        raise Mismatch(message)

    def weight(full: str, path: str, shape: Shape) -> Link:
        span, flip = tuple(range(2, len(shape))), tuple(range(len(shape) - 2))
        said = hints["transposed"].get(layer.name)
        if said is None and shape[0] == shape[1]:
            advice = f"transposed={{{layer.name!r}: True}} or False"
            message = f"{full} has as many channels in as out: say with {advice} what transpose_kernel is"
            raise Mismatch(message)
        if said if said is not None else leaves[path][-1] == shape[0]:
            return window(full, path, leaves, shape, (*span, 1, 0))
        return window(full, path, leaves, shape, (*span, 0, 1), flip)

    return _weight_and_bias(layer, node, leaves, weight)


def _attention(layer: Layer, node: str, leaves: Shapes, hints: Hints) -> list[Link]:  # noqa: ARG001
    """The joined projection ``(3 E, E)`` to three kernels ``(E, heads, E / heads)``; the output likewise."""
    links, width, parts = [], layer.module.embed_dim, {"q": "query", "k": "key", "v": "value"}
    for own, shape in layer.shapes.items():
        full, axes = dotted(layer.name, own), (1, 0) if len(shape) == 2 else (0,)
        word = "kernel" if len(shape) == 2 else "bias"
        if own.startswith("in_proj"):
            rows = (width, *shape[1:])
            for i, part in enumerate(parts.values()):
                path = find(node, leaves, f"{part}/{word}")
                links.append(link(full, path, leaves, rows, rows, axes, start=i * width))
        elif own.startswith("out_proj") or own.endswith("_proj_weight"):
            path = find(node, leaves, f"{parts.get(own[0], 'out')}/{word}")
            links.append(link(full, path, leaves, shape, shape, axes))
        else:
            message = f"Flax's attention has no {own}, which {layer.name} has"
            raise Mismatch(message)
    return links


CONVENTIONS: dict[str, Callable[[Layer, str, Shapes, Hints], list[Link]]] = {
    "MultiheadAttention": _attention,
    "Linear": _linear,
    "_ConvTransposeNd": _transposed_convolution,
    "_ConvNd": _convolution,
    "RNNCellBase": recurrent,
    "RNNBase": recurrent,
}
"""By torch's class, or a base of it, the most special first; every other layer keeps the order of its entries."""
