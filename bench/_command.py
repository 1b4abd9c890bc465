"""What the commands share: a picture without a display, and wrong usage told in one line."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

__all__ = ["check_folder", "leave", "picture_at"]


@contextlib.contextmanager
def picture_at(path: Path, width: float, height: float, dpi: int = 110) -> Iterator[Any]:
    """Give an empty ``matplotlib.figure.Figure``, of a size in inches, and save what was drawn on it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    yield figure
    figure.savefig(path, dpi=dpi)


def check_folder(command: str, path: Path | None) -> None:
    """Leave where a file has no directory to be written to: before an hour of work, not after it."""
    if path is not None and not path.parent.is_dir():
        leave(command, f"cannot write {path}: there is no directory {path.parent}")


def leave(command: str, message: str, code: int = 2) -> None:
    """Print one line about what is wrong and leave."""
    print(f"{command}: {message}", file=sys.stderr)
    raise typer.Exit(code)
