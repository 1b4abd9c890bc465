"""Where a report goes: to standard output, in the colours and the width of the terminal, or whole into a file."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from jaxgrad import _interrupt
from jaxgrad.verify import CannotRun

__all__ = ["attempt", "check_format", "check_writable", "standard_output", "write"]

R = TypeVar("R")
FORMATS = ("text", "json", "junit", "html")
WIDTH = 120
"""The characters of a line where there is no terminal and no ``COLUMNS``."""

STYLES = {"good": "bold green", "bad": "bold red", "bold": "bold", "dim": "dim", "": ""}


def write(report: Any, format: str, output: Path | None) -> None:  # noqa: A002
    """Write a report to a file, or to standard output where there is none."""
    if output is not None:
        attempt(lambda: report.save(output, format))
    elif format == "text":
        _show(report)
    else:
        text = report.written(format)
        if format in ("junit", "html"):
            # both forms can name every character in ASCII, whatever the encoding of standard output is
            text = text.encode("ascii", "xmlcharrefreplace").decode()
        with standard_output():
            sys.stdout.write(text)


def _show(report: Any) -> None:
    """Print the lines of a report; rich decides about colours, by the terminal, NO_COLOR and FORCE_COLOR."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    lines = report.lines(shutil.get_terminal_size((WIDTH, 24)).columns)
    with standard_output():
        for line in lines:
            console.print(Text.assemble(*((piece, STYLES[style]) for piece, style in line)))


@contextmanager
def standard_output() -> Iterator[None]:
    """Write to standard output what an interrupt must not cut in two."""
    with _interrupt.whole:
        yield
        sys.stdout.flush()


def check_format(format: str, output: Path | None) -> None:  # noqa: A002
    """Refuse a format, or a place, before the long run.

    Raises:
        CannotRun: With what the option takes.
    """
    if format not in FORMATS:
        message = f"--format must be one of {', '.join(FORMATS)}; got {format!r}"
        raise CannotRun(message)
    if output is not None:
        check_writable(output)


def check_writable(path: Path) -> None:
    """Refuse a file that could not be written at the end of a long run.

    Raises:
        CannotRun: If its folder is missing or closed to us, if it is a folder itself, or no name that there can be.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        # it is still to be made, or its folder is
        pass
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror}"
        raise CannotRun(message) from error
    if path.is_dir():
        message = f"{path} is a folder; name a file"
    elif not path.parent.is_dir():
        message = f"the folder {path.parent} does not exist; make it first"
    elif not os.access(path.parent, os.W_OK):
        message = f"the folder {path.parent} is not writable"
    else:
        return
    raise CannotRun(message)


def attempt(action: Callable[[], R]) -> R:
    """Run an action; whatever stops it becomes one line and exit code 2, for 1 says that two models differ."""
    try:
        return action()
    except CannotRun:
        raise
    except (Exception, SystemExit) as error:
        raise CannotRun.because(error) from error
