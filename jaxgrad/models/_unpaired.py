"""What is told of tensors and leaves that are left over: the nearest on the other side, and why it does not fit."""

import re

from jaxgrad.models._facts import JaxFacts, Shape, Shapes, TorchFacts
from jaxgrad.models._names import likeness, role_of, words
from jaxgrad.models._search import Found

__all__ = ["unpaired"]


def unpaired(found: Found, torch: TorchFacts, jax: JaxFacts) -> dict[str, str]:
    """Say of every tensor and leaf that is left over which is the nearest on the other side, and why it does not fit.

    Returns:
        What there is to say, by name: ``the nearest is a/kernel [2, 9], whose shape differs``; empty where nothing is.
    """
    filled = {link.path: link.name for link in found.links}
    back = {link.name: link.path for link in found.links}
    told = {path: _nearest(path, jax.shapes[path], found.unused, torch.shapes, back) for path in found.unfilled}
    for key in found.unused:
        told[key] = _nearest(key, torch.shapes[key], found.unfilled, jax.shapes, filled)
        if key in back:
            told[key] = f"the reset gate scales its last third, for which this cell has no bias beside {back[key]}"
    return told


def _nearest(name: str, shape: Shape, free: tuple[str, ...], shapes: Shapes, taken: dict[str, str]) -> str:
    """Return in words which tensor of the other side is nearest by name, part and shape; one left over if it is near.

    Args:
        name: What is left over.
        shape: Its shape.
        free: What is left over on the other side.
        shapes: All there is on the other side.
        taken: Who fills it.
    """
    part = _part(name)

    def score(other: str) -> float:
        alike = likeness(words(name), words(other))[1] + (sorted(shapes[other]) == sorted(shape)) / 2
        return alike + (other in free) / 4 + (part is not None and part == _part(other)) / 4

    best = max(shapes, key=score, default=None)
    if best is None or score(best) <= 0.75:
        return ""
    why = f", which goes with {taken[best]}" if best in taken else ""
    if not why and sorted(shapes[best]) != sorted(shape):
        why = ", whose shape differs"
    return f"the nearest is {best} {list(shapes[best])}{why}"


def _part(name: str) -> str | None:
    """Return what a tensor is to its layer."""
    found = role_of(re.split(r"[./]", name)[-1])
    return None if found is None else found[0]
