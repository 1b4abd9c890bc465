"""The forms that every report has, whichever findings it holds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxgrad.verify._files import write_atomically
from jaxgrad.verify.report._document import Document
from jaxgrad.verify.report._html import to_html
from jaxgrad.verify.report._json import to_json
from jaxgrad.verify.report._junit import to_junit
from jaxgrad.verify.report._text import Line, lines, text

__all__ = ["Forms"]

WIDTH = 120
"""The characters of a line in a file."""


class Forms:
    """What turns findings into a document has these methods."""

    def document(self) -> Document:
        """Return what every form is written from."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.table()

    def table(self, width: int | None = None) -> str:
        """Return the report as text: a table, where and why it differs, and the verdict.

        Args:
            width: The most characters of a line; ``None`` breaks none.
        """
        return text(self.document(), width)

    def lines(self, width: int | None = None) -> Iterator[Line]:
        """Yield the lines of the text in pieces, each with its style: ``good``, ``bad``, ``bold``, ``dim`` or none."""
        return lines(self.document(), width)

    def written(self, form: str) -> str:
        """Return the report in a form: ``text``, ``json``, ``junit`` or ``html``."""
        text = self.table(WIDTH) if form == "text" else getattr(self, f"to_{form}")()
        return text.rstrip("\n") + "\n"

    def save(self, path: str | Path, form: str = "html") -> None:
        """Write the report to a file, whole or not at all.

        Raises:
            OSError: If the disk refuses; an older file is then unchanged.
        """
        # what is no character, as in the name of a file that the system did not decode, is written out
        data = self.written(form).encode("utf-8", "backslashreplace")
        write_atomically(Path(path), lambda file: file.write(data))

    def to_dict(self) -> Any:
        """Return plain data; an infinity is 1e300, and what is no number ``None``."""
        return self.document().data()

    def to_json(self) -> str:
        """Return the report as JSON."""
        return to_json(self.document())

    def to_junit(self) -> str:
        """Return the report as JUnit XML, a test case for everything that was judged."""
        return to_junit(self.document())

    def to_html(self) -> str:
        """Return the report as one self-contained page, which needs no server and no JavaScript."""
        return to_html(self.document())
