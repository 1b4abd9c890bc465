"""One JAX leaf and the torch tensors that it is made of."""

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxgrad.models import Link

__all__ = ["Entry", "entry_of"]


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


def entry_of(path: str, links: tuple[Link, ...], doubt: str = "") -> Entry:
    """Return the entry of a leaf that is the sum of what links bring, with what the shapes do not prove."""

    def make(*tensors: Any) -> Any:
        first, *others = zip(links, tensors, strict=True)
        made = first[0].layout.to_jax(first[1][first[0].index()])
        for link, tensor in others:
            made = made + link.layout.to_jax(tensor[link.index()])
        return made

    layout, part = links[0].layout, "" if links[0].start is None else f"rows {links[0].start}:{links[0].stop}, "
    beside = any(not a.layout.overlaps(b.layout) for a in links[:1] for b in links[1:])
    several = f"{len(links)} side by side, the first: " if beside else "sum of two: " * (len(links) > 1)
    return Entry(path, tuple(link.name for link in links), make, f"{several}{part}{layout}", doubt, links)
