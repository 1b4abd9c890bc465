"""Linear layers behind a flattened image: torch sees its channels first, and most JAX models see them last."""

import contextlib
import dataclasses

from jaxgrad.models import Layout
from jaxgrad.verify.judge._tolerances import FLATTENED_ALIKE
from jaxgrad.verify.port.frameworks._batch import as_it_is
from jaxgrad.verify.port.frameworks._compile import run_once
from jaxgrad.verify.port.mapping._convert import Entry, entry_of
from jaxgrad.verify.port.mapping._model_pair import ModelPair

__all__ = ["resolve_flatten_order"]


def resolve_flatten_order(pair: ModelPair) -> ModelPair:
    """Return a pair whose linear layers behind a flattened image take its channels as the JAX model has them.

    The losses of both models tell which order that is. A model that fails in float64 is told where its quantities are
    asked for, and left as it is here.
    """
    with contextlib.suppress(Exception):
        return _resolved(pair)
    return pair


def _resolved(pair: ModelPair) -> ModelPair:
    """Turn the kernels behind an image, where that makes the losses equal."""
    entries = [
        (path, entry) for path in pair.images for entry in pair.mapping.entries
        if entry.torch == (f"{path}.weight",) and entry.links and entry.links[0].layout.axes == (1, 0)
    ]  # fmt: skip
    if not entries:
        return pair
    want = pair.torch.value(pair.batch)
    straight = abs(_loss(pair) - want)
    if straight <= FLATTENED_ALIKE * abs(want):
        return pair
    mapping = pair.mapping
    for path, entry in entries:
        mapping = mapping.replace(_turned(entry, pair.images[path]))
    turned = dataclasses.replace(
        pair, mapping=mapping, flattened={path: pair.images[path] for path, _ in entries}
    )  # fmt: skip
    # where neither fits, the models differ elsewhere, and channels last is what JAX models flatten
    return pair if abs(_loss(turned) - want) > straight and _flattens_channels_first(pair) else turned


def _loss(pair: ModelPair) -> float:
    """Return JAX's loss with torch's weights: what the port's code takes is asked, also where its own are judged."""
    asked = dataclasses.replace(pair, options=dataclasses.replace(pair.options, weights="torch"))
    params, rest = asked.weights("float64")
    return float(run_once(asked.wide(asked.jax_loss_of(rest)), params, *asked.data("float64")))


def _turned(entry: Entry, image: tuple[int, ...]) -> Entry:
    """Return an entry whose kernel takes the image with its channels last."""
    (link,) = entry.links
    old, axes = link.layout, (*range(2, len(image) + 1), 1, 0)
    layout = Layout(old.torch_shape, (old.torch_shape[0], *image), axes, old.jax_shape)
    return entry_of(entry.jax, (dataclasses.replace(link, layout=layout),))


def _flattens_channels_first(pair: ModelPair) -> bool:
    """Say whether the JAX side takes images as torch has them."""
    return pair.adapt is as_it_is
