"""The formats of a report, and where it goes: standard output or a file that is replaced whole."""

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from jaxgrad import _interrupt
from jaxgrad.cli._junit import to_junit
from jaxgrad.cli._report import Report
from jaxgrad.cli._text import show
from jaxgrad.verify import CannotRun
from jaxgrad.verify._files import write_atomically

__all__ = ["FORMATS", "check_writable", "put", "replace", "standard_output", "write"]

FORMATS = ("text", "json", "junit")


def write(report: Report, format: str, output: Path | None, *, verbose: bool = False) -> None:  # noqa: A002
    """Write a report to a file, or to standard output where there is none."""
    if output is not None:
        replace(output, _render(report, format, verbose=verbose))
    elif format == "text":
        with standard_output():
            show(report, Console(), verbose=verbose)
    else:
        put(_render(report, format, verbose=verbose))


@contextmanager
def standard_output() -> Iterator[None]:
    """Write to standard output what an interrupt must not cut in two."""
    with _interrupt.whole:
        yield
        sys.stdout.flush()


def put(text: str) -> None:
    """Write a text to standard output whole."""
    with standard_output():
        sys.stdout.write(text)


def _render(report: Report, format: str, *, verbose: bool) -> str:  # noqa: A002
    """Return the report as it stands in a file."""
    if format == "json":
        rows = [row.to_dict() for row in report.rows]
        return json.dumps(rows, indent=1, allow_nan=False) + "\n"
    if format == "junit":
        return to_junit(report)
    file = io.StringIO()
    show(report, Console(file=file, width=120), verbose=verbose)
    return file.getvalue()


def check_writable(path: Path) -> None:
    """Refuse a file that could not be written at the end of a long run.

    Raises:
        CannotRun: If its folder is missing or closed to us, or if it is a folder itself.
    """
    if path.is_dir():
        message = f"{path} is a folder; name a file"
    elif not path.parent.is_dir():
        message = f"the folder {path.parent} does not exist; make it first"
    elif not os.access(path.parent, os.W_OK):
        message = f"the folder {path.parent} is not writable"
    else:
        return
    raise CannotRun(message)


def replace(path: Path, text: str) -> None:
    """Write a file whole: the old one stays until the new one is complete.

    Raises:
        CannotRun: If it cannot be written, with the reason of the system.
    """
    try:
        write_atomically(path, lambda file: file.write(text.encode()))
    except OSError as error:
        raise CannotRun(str(error)) from None
