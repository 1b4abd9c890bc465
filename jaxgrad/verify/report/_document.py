"""What every report says, whichever command made it: plain data between the findings and their forms.

`Report`, `Audit` and the rows of the built-in cases each turn themselves into a `Document`; text, JSON, JUnit and the
page are written from that alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Cell", "Column", "Document", "Fix", "Judged", "Table"]

Cell = str | float | None
Kind = Literal["text", "path", "error", "multiple", "number", "seconds", "heat", "verdict"]


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    kind: Kind = "text"
    """How a cell is written: ``path`` for what may be long, ``error`` for 1.3e-09, ``multiple`` for 1.3x, ``heat``
    for an error whose size the page shows by a colour."""
    least: int = 0
    """The least width in characters."""
    joins: bool = False
    """Whether its cells go under those of the column of words before it where the width is short."""


@dataclass(frozen=True)
class Table:
    """A table of findings."""

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[tuple[Cell, ...]]
    about: str = ""
    """A sentence that says how to read it."""
    folded: bool = False
    """Whether the page shows it only when it is opened."""
    in_text: bool = True
    """Whether the text has it too."""


@dataclass(frozen=True)
class Fix:
    """Why something differs, and what to write instead."""

    id: str
    where: str
    why: str
    fix: str
    proven: bool = False
    also: tuple[str, ...] = ()

    @property
    def sure(self) -> str:
        """How sure it is, in a word: the same in every form."""
        return "proven" if self.proven else "unknown" if self.id == "unknown" else "likely"

    def __str__(self) -> str:
        others = f" (also {', '.join(self.also[:3])}{' ...' if len(self.also) > 3 else ''})" if self.also else ""
        where = f"{self.where}{others}: " if self.where else ""
        return f"{where}{self.why} {self.fix}".strip()


@dataclass(frozen=True)
class Judged:
    """One thing that was judged: a test case to whoever counts them."""

    group: str
    name: str
    verdict: str
    """``agree``; ``failed`` where it could not be computed; anything else is a difference."""
    seconds: float = 0.0
    message: str = ""
    """Why it does not agree, in a line."""
    details: str = ""
    """What a reader wants to know then."""
    figures: str = ""
    """What was measured, also where it agrees."""


@dataclass(frozen=True)
class Document:
    """A report before it has a form."""

    command: str
    """``check``, ``verify``, ``audit`` or ``diff``."""
    ok: bool
    verdict: str
    """The answer in a line."""
    compared: Sequence[tuple[str, str]] = ()
    """What was compared, by what: names and values."""
    summary: Sequence[str] = ()
    """What was found, in sentences that come before everything else."""
    tables: Sequence[Table] = ()
    fixes: Sequence[Fix] = ()
    places: Sequence[str] = ()
    """Where the two part, the weightiest first; each begins with its kind, such as ``first divergence``."""
    wrong: Sequence[str] = ()
    """What differs, in sentences that no table holds."""
    notes: Sequence[str] = ()
    legend: Sequence[tuple[str, str]] = ()
    """The words that need an explanation, such as ``rounding``."""
    judged: Sequence[Judged] = ()
    seconds: float = 0.0
    date: str = ""
    """When it was made, as ISO 8601 has it."""
    limit: float = 0.0
    """The largest error that agrees."""
    data: Callable[[], Any] = dict
    """Returns the findings for machines, of what JSON holds."""
