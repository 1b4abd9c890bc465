"""What the commands share: how they start and end, a picture without a display, wrong usage told in one line."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

__all__ = ["check_folder", "check_picture", "leave", "picture_at", "run_command", "watch_interrupts"]


def run_command(main: Callable[..., None]) -> None:
    """Run a command on the arguments of the process, and let Ctrl-C end it."""
    watch_interrupts()
    typer.run(main)


def watch_interrupts() -> None:
    """Let Ctrl-C end the process with one line and the usual status, whatever XLA is doing."""
    # not above: it imports JAX, before which `python -m bench` sets the number of threads
    from jaxgrad import _interrupt

    _interrupt.install()


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
    if path is not None and path.is_dir():
        leave(command, f"cannot write {path}: it is a directory")


def check_picture(command: str, path: Path | None) -> None:
    """Leave where a picture has no directory to be written to, or an ending that matplotlib does not know."""
    check_folder(command, path)
    if path is None:
        return
    from matplotlib.backend_bases import FigureCanvasBase

    known = sorted(FigureCanvasBase.get_supported_filetypes())
    if path.suffix.lstrip(".").lower() not in known:
        leave(command, f"cannot write {path}: a picture ends with one of {', '.join('.' + k for k in known)}")


def leave(command: str, message: str, code: int = 2) -> None:
    """Print one line about what is wrong and leave."""
    print(f"{command}: {message}", file=sys.stderr)
    raise typer.Exit(code)
