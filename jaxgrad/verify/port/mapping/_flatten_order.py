"""Linear layers behind a flattened image: torch sees its channels first, and most JAX models see them last."""

import contextlib
import copy
import dataclasses
from typing import Any

from jaxgrad.models import Layout
from jaxgrad.verify.judge._tolerances import FLATTENED_ALIKE
from jaxgrad.verify.port.frameworks._batch import as_it_is
from jaxgrad.verify.port.frameworks._compile import run_once
from jaxgrad.verify.port.mapping._convert import Entry, entry_of

__all__ = ["settle_flattening"]


def settle_flattening(bound: Any) -> None:
    """Find out whether linear layers behind a flattened image see its channels first or last, by their values."""
    if bound.options.get("settled"):
        return
    bound.options["settled"] = True
    # a model that fails in float64 is told where its quantities are asked for
    with contextlib.suppress(Exception):
        _settle(bound)


def _settle(bound: Any) -> None:
    """Turn the kernels behind an image, where that makes the losses equal."""
    images = bound.images
    entries = [
        (path, entry) for path in images for entry in bound.mapping.entries
        if entry.torch == (f"{path}.weight",) and entry.links and entry.links[0].layout.axes == (1, 0)
    ]  # fmt: skip
    if not entries:
        return
    plain = bound.mapping
    # what the code of the port takes is asked with torch's weights, also where its own are judged afterwards
    asked = copy.copy(bound)
    asked.options = {**bound.options, "weights": "torch"}

    def loss() -> float:
        asked.mapping = bound.mapping
        params, rest = asked.weights("float64")
        value = run_once(bound.wide(bound.jax_loss_of(rest)), params, *bound.data("float64"))
        return float(value)

    want = bound.torch.value(bound.batch)
    straight = abs(loss() - want)
    if straight <= FLATTENED_ALIKE * abs(want):
        return
    for path, entry in entries:
        bound.mapping = bound.mapping.replace(_turned(entry, images[path]))
    # where neither fits, the models differ elsewhere, and channels last is what JAX models flatten
    if abs(loss() - want) > straight and _flattens_channels_first(bound):
        bound.mapping = plain
        return
    bound.flattened = {path: images[path] for path, _ in entries}


def _turned(entry: Entry, image: tuple[int, ...]) -> Entry:
    """Return an entry whose kernel takes the image with its channels last."""
    (link,) = entry.links
    old, axes = link.layout, (*range(2, len(image) + 1), 1, 0)
    layout = Layout(old.torch_shape, (old.torch_shape[0], *image), axes, old.jax_shape)
    return entry_of(entry.jax, (dataclasses.replace(link, layout=layout),))


def _flattens_channels_first(bound: Any) -> bool:
    """Say whether the JAX side takes images as torch has them."""
    return bound.adapt is as_it_is
