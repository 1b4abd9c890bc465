"""What the commands share: how they start and end, a picture without a display, wrong usage told in one line."""

import contextlib
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import typer

__all__ = [
    "check_folder",
    "check_picture",
    "check_torch",
    "leave",
    "make_results_folder",
    "picture_at",
    "run_command",
    "watch_interrupts",
]


def run_command(main: Callable[..., None]) -> None:
    """Run a command on the arguments of the process, and let Ctrl-C end it."""
    watch_interrupts()
    typer.run(main)


def watch_interrupts() -> None:
    """Let Ctrl-C end the process with one line and the usual status, whatever XLA is doing."""
    from jaxgrad import _interrupt

    _interrupt.install()


@contextlib.contextmanager
def picture_at(path: Path, width: float, height: float, dpi: int = 110) -> Iterator[Any]:
    """Give an empty ``matplotlib.figure.Figure``, of a size in inches, and save what was drawn on it, whole or not."""
    from matplotlib.figure import Figure

    from jaxgrad.verify import _files

    figure = Figure(figsize=(width, height), layout="constrained")
    yield figure
    form = path.suffix.lstrip(".").lower()
    try:
        _files.write_atomically(path, lambda file: figure.savefig(file, format=form, dpi=dpi))
    except OSError as error:  # a full disk, a directory that went meanwhile: the figures are printed by now
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None


def check_folder(command: str, path: Path | None) -> None:
    """Leave where a file cannot be written: before an hour of work, not after it."""
    if path is None:
        return
    try:
        if path.is_dir():
            leave(command, f"cannot write {path}: it is a directory")
        if not path.parent.is_dir():
            leave(command, f"cannot write {path}: there is no directory {path.parent}")
        if path.is_file():
            path.open("ab").close()
        elif not path.exists():
            # a picture is written beside its place, and moved there
            tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.").close()
    except OSError as error:
        leave(command, f"cannot write {path}: {error.strerror or error}")


def make_results_folder(command: str, folder: Path | None, *names: str) -> None:
    """Make the folder of a run's results; leave where files of these names cannot be there."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        leave(command, f"cannot write to {folder}: {error.strerror or error}")
    for name in names:
        check_folder(command, folder / name)


def check_picture(command: str, path: Path | None) -> None:
    """Leave where a picture cannot be written, or has an ending that matplotlib does not know."""
    check_folder(command, path)
    if path is None:
        return
    from matplotlib.backend_bases import FigureCanvasBase

    known = sorted(FigureCanvasBase.get_supported_filetypes())
    if path.suffix.lstrip(".").lower() not in known:
        leave(command, f"cannot write {path}: a picture ends with one of {', '.join('.' + k for k in known)}")


def check_torch(command: str) -> None:
    """Leave where PyTorch is missing: every row is held against it, and the modules of the rows import it."""
    if importlib.util.find_spec("torch") is None:
        leave(command, "PyTorch is not installed, and the rows are held against it: pip install -e '.[torch,cli]'")


def leave(command: str, message: str, code: int = 2) -> NoReturn:
    """Print one line about what is wrong and leave."""
    print(f"{command}: {message}", file=sys.stderr)
    raise typer.Exit(code)
