"""The report as one page: no server, no other file, light and dark, wide and narrow, whole without JavaScript."""

import html
import math
from collections.abc import Iterator, Sequence
from importlib import resources

from jaxgrad.verify.report._cells import legal, written
from jaxgrad.verify.report._document import Cell, Column, Document, Fix, Table

__all__ = ["to_html"]

NUMBERS = ("error", "multiple", "number", "seconds", "heat")
HEATS = 5
"""How many colours an error may have, from what is allowed to a half of the value itself."""


def escape(text: str) -> str:
    """Return a text as the page holds it."""
    return html.escape(legal(text))


def to_html(document: Document) -> str:
    """Return the page of a document."""
    template = resources.files("jaxgrad.verify.report").joinpath("report.html").read_text(encoding="utf-8")
    title = f"jaxgrad {document.command}: {document.verdict}"
    head, _, foot = template.replace("{{title}}", escape(title)).partition("{{body}}")
    return "".join([head, *_body(document), foot])


def _body(document: Document) -> Iterator[str]:
    """Yield the page from the verdict to the legend: what to do comes first, and what failed before what agrees."""
    mood = "good" if document.ok else "bad"
    yield f'<h1>jaxgrad {escape(document.command)}</h1>\n<p class="verdict {mood}">{escape(document.verdict)}</p>\n'
    if document.fixes:
        yield f"<section><h2>What to change</h2>\n{''.join(map(_fix, document.fixes))}</section>\n"
    if document.places:
        yield _list("Where they part", document.places)
    if document.wrong:
        yield _list("What differs", document.wrong)
    if document.compared:
        pairs = "".join(f"<div><dt>{escape(n)}</dt><dd>{escape(v)}</dd></div>" for n, v in document.compared)
        yield f'<section><h2>What was compared</h2><dl class="facts">{pairs}</dl></section>\n'
    if document.summary:
        yield f"<section>{''.join(f'<p>{escape(line)}</p>' for line in document.summary)}</section>\n"
    tables = [table for table in document.tables if table.rows]
    yield from (_table(table, document.limit) for table in tables)
    if document.notes:
        yield _list("Notes", document.notes)
    if tables and document.legend:
        pairs = "".join(f"<div><dt>{escape(n)}</dt><dd>{escape(v)}</dd></div>" for n, v in document.legend)
        yield f'<section><h2>Legend</h2><dl class="legend">{pairs}</dl></section>\n'


def _fix(fix: Fix) -> str:
    """Return one cause: the line to write in large letters, then where and why."""
    also = f' <span class="soft">and {escape(", ".join(fix.also))}</span>' if fix.also else ""
    where = f'<p class="where">in <code>{escape(fix.where)}</code>{also}</p>' if fix.where else ""
    what = f'<p class="fix">{escape(fix.fix)}</p>' if fix.fix else ""
    return (
        f'<article>{what}{where}<p>{escape(fix.why)}</p><p class="soft"><span class="tag">{fix.sure}</span>'
        f" {escape(fix.id)}</p></article>\n"
    )


def _list(title: str, lines: Sequence[str]) -> str:
    """Return a section of sentences."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<section><h2>{escape(title)}</h2><ul>{items}</ul></section>\n"


def _table(table: Table, limit: float) -> str:
    """Return a section with a table; a column without a word in it is left out."""
    cells = [[written(cell, c.kind) for cell, c in zip(row, table.columns, strict=True)] for row in table.rows]
    kept = [i for i in range(len(table.columns)) if any(row[i] for row in cells)]
    columns = [table.columns[i] for i in kept]
    head = "".join(f'<th scope="col"{_class(column)}>{escape(column.name)}</th>' for column in columns)
    rows = [
        "".join(_cell(table.columns[i], row[i], words[i], limit) for i in kept)
        for row, words in zip(table.rows, cells, strict=True)
    ]
    body = "".join(f"<tr>{row}</tr>\n" for row in rows)
    about = f'<p class="soft">{escape(table.about)}</p>' if table.about else ""
    inside = f'{about}<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'
    title = f"{escape(table.title)} ({len(rows)})"
    if table.folded:
        return f"<section><details><summary><h2>{title}</h2></summary>{inside}</details></section>\n"
    return f"<section><h2>{title}</h2>{inside}</section>\n"


def _class(column: Column) -> str:
    """Return the class of a column's cells."""
    name = "num" if column.kind in NUMBERS else column.kind if column.kind == "path" else ""
    return f' class="{name}"' if name else ""


def _cell(column: Column, cell: Cell, words: str, limit: float) -> str:
    """Return one cell; its column's name goes along, for a narrow page has no head."""
    shown = escape(words)
    if column.kind == "verdict":
        mood = {"agree": "good", "harmless": "good", "noisy": "warn"}.get(words, "bad")
        shown = f'<span class="tag {mood}">{shown}</span>'
    elif column.kind == "heat" and isinstance(cell, float):
        shown = f'<span class="heat h{_heat(cell, limit)}">{shown}</span>'
    sort = f' data-key="{cell!r}"' if isinstance(cell, int | float) else ""
    return f'<td{_class(column)} data-name="{escape(column.name)}"{sort}>{shown}</td>'


def _heat(error: float, limit: float) -> int:
    """Return the colour of an error: 0 for what is allowed, then evenly by its power of ten."""
    if error <= limit:
        return 0
    if not math.isfinite(error) or error >= 1 or limit <= 0:
        return HEATS
    return 1 + int((HEATS - 1) * math.log(error / limit) / math.log(1 / limit))
