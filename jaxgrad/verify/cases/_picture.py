"""The pictures that cases draw, saved without a display."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxgrad.verify._files import write_atomically

__all__ = ["save"]


def save(draw: Callable[[Any], None], folder: Path, name: str) -> Path:
    """Draw on an empty figure, and save it as a PNG file whose name is a plain word.

    Args:
        draw: Draws on a ``matplotlib.figure.Figure``.
        folder: Where it goes; the folder must exist.
        name: What it is called; whatever is not a letter or a digit becomes a hyphen.

    Returns:
        The path of the file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    draw(figure)
    path = folder / f"{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-')}.png"
    write_atomically(path, lambda file: figure.savefig(file, dpi=150, format="png"))
    return path
