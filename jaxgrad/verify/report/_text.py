"""A report as text, for a terminal of any width, a file, or ``print``."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from jaxgrad.verify.report._cells import legal, written
from jaxgrad.verify.report._document import Column, Document, Table

__all__ = ["Line", "lines", "text"]

Line = list[tuple[str, str]]
"""Pieces of a line, each with its style: ``good``, ``bad``, ``bold``, ``dim`` or none."""

GAP = 2
READABLE = 16
"""The fewest characters to which a column of paths is folded."""
WRAPPED = ("text", "path")
LEFT = (*WRAPPED, "verdict")
NONE: Mapping[int, int] = MappingProxyType({})


def text(document: Document, width: int | None = None) -> str:
    """Return a report without colours; lines of any length where there is no width."""
    return "\n".join("".join(piece for piece, _ in line).rstrip() for line in lines(document, width))


def lines(document: Document, width: int | None = None) -> Iterator[Line]:
    """Yield the lines of a report: what was compared, the tables, what differs, why, the notes, and the verdict."""
    if document.compared:
        yield from _prose("; ".join(f"{name} {value}" for name, value in document.compared), "dim", width)
        yield []
    for line in document.summary:
        yield from _prose(line, "", width)
    shown = [table for table in document.tables if table.in_text and table.rows]
    for table in shown:
        yield from _table(table, width)
    if shown and document.legend:
        for term, meaning in document.legend:
            yield from _prose(f"{term}: {meaning}", "dim", width)
        yield []
    told = [*((line, "bad") for line in document.wrong), *((place, "bold") for place in document.places)]
    told += [(f"{fix.sure} cause: {fix}", "bold") for fix in document.fixes]
    told += [(f"note: {note}", "") for note in document.notes]
    for line, style in told:
        yield from _prose(line, style, width)
    if told or document.summary:
        yield []
    yield from _prose(document.verdict, "good" if document.ok else "bad", width)


def _prose(line: str, style: str, width: int | None) -> Iterator[Line]:
    """Yield a paragraph in lines that fit."""
    for paragraph in legal(line).splitlines() or [""]:
        if width is None or len(paragraph) <= width:
            yield [(paragraph, style)]
        else:
            found = textwrap.wrap(paragraph, width, subsequent_indent="  ", break_on_hyphens=False)
            yield from ([(part, style)] for part in found)


def _table(table: Table, width: int | None) -> Iterator[Line]:
    """Yield a table, its columns as wide as their cells; what does not fit is folded, or goes under its neighbour."""
    cells = [[legal(written(cell, c.kind)) for cell, c in zip(row, table.columns, strict=True)] for row in table.rows]
    # a column without a word in it is left out
    kept = [i for i in range(len(table.columns)) if any(row[i] for row in cells) or not table.columns[i].joins]
    columns = [table.columns[i] for i in kept]
    plain = [[row[i] for i in kept] for row in cells]
    widths = _widths(columns, plain)
    joined: dict[int, int] = {}
    if width is not None and sum(widths) + GAP * (len(widths) - 1) > width:
        joined = _joined(columns)
        widths = _narrowed(columns, _widths(columns, plain, joined), joined, width)
    free = [i for i in range(len(columns)) if i not in joined]
    head = [(columns[i].name, "bold") for i in free]
    yield _row(head, [widths[i] for i in free], [columns[i].kind in LEFT for i in free])
    yield [("-" * (sum(widths[i] for i in free) + GAP * (len(free) - 1)), "dim")]
    for row in plain:
        yield from _folded(row, free, widths, columns, joined)
    yield []


def _joined(columns: Sequence[Column]) -> dict[int, int]:
    """Return the columns that go under another where the width is short, and which that is."""
    words = [i for i, column in enumerate(columns) if column.kind in WRAPPED and not column.joins]
    return {i: max(j for j in words if j < i) for i, c in enumerate(columns) if c.joins and words and words[0] < i}


def _widths(columns: Sequence[Column], plain: list[list[str]], joined: Mapping[int, int] = NONE) -> list[int]:
    """Return how wide every column is: as its widest cell, those that it takes in included."""
    widest = [max([len(c.name), c.least, *(len(row[i]) for row in plain)]) for i, c in enumerate(columns)]
    for i, under in joined.items():
        widest[under], widest[i] = max([widest[under], *(len(row[i]) for row in plain)]), 0
    return widest


def _narrowed(columns: Sequence[Column], widths: list[int], joined: Mapping[int, int], width: int) -> list[int]:
    """Take what is too much from the widest columns of words."""
    free = [i for i in range(len(columns)) if i not in joined]
    widths = list(widths)
    over = sum(widths[i] for i in free) + GAP * (len(free) - 1) - width
    while over > 0:
        wide = max((i for i in free if columns[i].kind in WRAPPED), key=lambda i: widths[i], default=None)
        if wide is None or widths[wide] <= READABLE:
            break
        widths[wide] -= 1
        over -= 1
    return widths


def _folded(
    row: list[str], free: list[int], widths: list[int], columns: Sequence[Column], joined: Mapping[int, int]
) -> Iterator[Line]:
    """Yield the lines of one row of a table."""
    pieces = {i: _wrap(row[i], widths[i]) for i in free}
    own = {i: len(lines) for i, lines in pieces.items()}
    for i, under in joined.items():
        pieces[under] += _wrap(row[i], widths[under])
    for n in range(max(map(len, pieces.values()), default=0)):
        found = [
            (pieces[i][n] if n < len(pieces[i]) else "", _style(row[i], columns[i].kind) if n < own[i] else "dim")
            for i in free
        ]
        yield _row(found, [widths[i] for i in free], [columns[i].kind in LEFT for i in free])


def _wrap(cell: str, width: int) -> list[str]:
    """Return a cell in lines; one without a word has none of its own beside others."""
    return textwrap.wrap(cell, max(width, 1), break_on_hyphens=False) if cell else []


def _style(cell: str, kind: str) -> str:
    """Return the colour of a cell: verdicts have one."""
    return ("good" if cell == "agree" else "bad") if kind == "verdict" else ""


def _row(cells: list[tuple[str, str]], widths: list[int], left: list[bool]) -> Line:
    """Return one line of a table."""
    line: Line = []
    last = max((i for i, (cell, _) in enumerate(cells) if cell), default=-1)
    for (cell, style), width, is_left in list(zip(cells, widths, left, strict=True))[: last + 1]:
        room = " " * (width - len(cell))
        pieces = [(cell, style), (room, "")] if is_left else [(room, ""), (cell, style)]
        line += [*pieces, (" " * GAP, "")]
    # nothing stands behind the last word
    return line[: -2 if last >= 0 and left[last] else -1]
