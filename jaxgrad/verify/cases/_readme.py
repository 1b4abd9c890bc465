"""The README's table of cases, written from the rows of a run and never by hand."""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from jaxgrad.verify._errors import CannotRun
from jaxgrad.verify._files import write_atomically
from jaxgrad.verify.cases._result import Row

__all__ = ["insert", "insert_cases", "table"]

BEGIN, END = "<!-- cases:begin -->", "<!-- cases:end -->"


def table(rows: Iterable[Row]) -> str:
    """Return a Markdown table with a line for every case: its worst errors, its verdict, what its criteria measured."""
    head = ["id", "what", "worst float64 error", "worst float32 noise", "verdict and criteria"]
    body = [_line(list(group)) for _, group in groupby(rows, key=lambda row: row.case)]
    lines = [head, ["---", "---", "---:", "---:", "---"], *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _line(rows: list[Row]) -> list[str]:
    """Return the cells of one case."""
    errors = [row.error_f64 for row in rows if row.error_f64 is not None]
    noises = [row.noise_f32 for row in rows if row.noise_f32 is not None]
    verdict = "agree" if all(row.agrees for row in rows) else "**differ**"
    measured = [f"{row.quantity}: {row.measured}" for row in rows if row.measured]
    return [
        _cell(rows[0].case),
        _cell(rows[0].title),
        (f"{max(errors):.1e}" if max(errors) else "0") if errors else "",
        f"{max(noises):.1f}x torch's" if noises else "",
        _cell("; ".join([verdict, *measured])),
    ]


def _cell(text: str) -> str:
    """Return a text that stays in its cell."""
    return " ".join(text.split()).replace("|", "\\|")


def insert_cases(document: str | Path, rows: Iterable[Row] | None) -> None:
    """Write the table of cases anew, between its two markers in a document.

    Args:
        document: A Markdown file; everything outside of the markers stays as it is.
        rows: The rows of a run of every case; ``None`` only looks whether the document can take them.

    Raises:
        CannotRun: If there is no such file, or it does not hold each marker once, in order.
        OSError: If the disk refuses; the old file is then unchanged.

    Cost:
        Reads the document, and writes it to the disk.

    Example:
        >>> from jaxgrad import verify
        >>> verify.insert_cases("nowhere.md", None)
        Traceback (most recent call last):
        ...
        jaxgrad.verify._errors.CannotRun: there is no file nowhere.md

    References:
        ``make readme`` writes the table of this project's README.
    """
    path = Path(document)
    if not path.is_file():
        message = f"there is no file {path}"
        raise CannotRun(message)
    text = path.read_text("utf-8")
    changed = insert(text, table(rows or ()))
    if rows is not None:
        write_atomically(path, lambda file: file.write(changed.encode()))


def insert(text: str, lines: str) -> str:
    """Return a document with the part between the two markers replaced.

    Raises:
        CannotRun: If it does not hold each marker once, in order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in after or END in before:
        message = f"the document must hold the markers {BEGIN} and {END} once each, in this order"
        raise CannotRun(message)
    return f"{before}{BEGIN}\n{lines}\n{END}{after}"
