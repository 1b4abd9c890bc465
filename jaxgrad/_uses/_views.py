"""What the walk over a linear program carries: views of leaves, and the sites where they are used."""

from typing import Any, NamedTuple

from jaxgrad._jaxpr import JaxprEqn
from jaxgrad._uses._layout import Atoms, Layout

__all__ = ["Path", "Piece", "Site", "View"]

Path = tuple[int, ...]
"""The index of an equation, below the indices of the scans that it stands in."""


class Piece(NamedTuple):
    """All entries of one leaf, as a part of a view."""

    leaf: int
    layout: Layout
    loops: tuple[Atoms | None, ...]
    """For every scan around: the atoms that are sliced into its iterations, or ``None`` where all share the leaf."""


class View(NamedTuple):
    """A variable whose entries are those of one leaf, or of several side by side along an axis."""

    pieces: tuple[Piece, ...]
    axis: int = 0


class Site(NamedTuple):
    """A linear use of leaves whose weight gradient is a sum of outer products."""

    path: Path
    eqn: JaxprEqn
    position: int
    """Which operand of the equation the view is."""
    view: View
    lengths: tuple[int, ...]
    """The lengths of the scans around."""

    @property
    def operand(self) -> Any:
        """The known operand: activations, or indices."""
        return self.eqn.invars[1 - self.position]

    @property
    def makes_patches(self) -> bool:
        """Whether its left factor is larger than its operand."""
        return self.eqn.primitive.name == "conv_general_dilated"
