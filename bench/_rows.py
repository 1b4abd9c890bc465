"""Finds the rows: every family's module has a list ``ROWS``."""

import difflib
import importlib
from collections.abc import Sequence

from bench._command import leave
from bench._row import Row

__all__ = ["FAMILIES", "check_families", "chosen", "find", "key_of", "rows_of"]

FAMILIES = ("gradient", "shift", "nth", "curvature", "meta", "inr", "per_example", "multi_loss")

SHOWN = 2
"""Rows of each family, of different names, that a quick run of all of them shows: under three minutes in all."""


def rows_of(family: str) -> list[Row]:
    """Return the rows of a family."""
    return list(importlib.import_module(f"bench.{family}").ROWS)


def key_of(family: str, row: Row, quick: bool) -> str:
    """Return what a row is called in a run: its family, its name and the sizes that run."""
    return f"{family}.{row.name}: {row.label(quick)}"


def find(family: str, key: str, quick: bool) -> Row:
    """Return a row by what it is called in a run."""
    return next(row for row in rows_of(family) if key_of(family, row, quick) == key)


def check_families(command: str, families: Sequence[str]) -> None:
    """Leave with one line where a family is unknown."""
    for family in families:
        if family not in FAMILIES:
            close = difflib.get_close_matches(family, FAMILIES, n=1)
            hint = f"did you mean {close[0]}? The" if close else "the"
            leave(command, f"unknown family {family}; {hint} families are {', '.join(FAMILIES)}")


def chosen(command: str, families: Sequence[str], text: str | None, quick: bool) -> list[tuple[str, Row]]:
    """Return the rows to run: those of the families that contain a text; a quick run of everything shows some of each.

    Leaves with one line where nothing contains the text.
    """
    check_families(command, families)
    everything = [(family, row) for family in dict.fromkeys(families or FAMILIES) for row in rows_of(family)]
    if quick:  # rows that differ in a size may be one in small
        everything = list({key_of(family, row, True): (family, row) for family, row in reversed(everything)}.values())[
            ::-1
        ]
    if text is not None:
        found = [(family, row) for family, row in everything if text in key_of(family, row, quick)]
        if not found:
            names = sorted({row.name for _, row in everything})
            close = difflib.get_close_matches(text, names, n=3)
            hint = f"; did you mean {', '.join(close)}?" if close else "; `python -m bench list` shows them"
            leave(command, f"no row contains {text!r}{hint}")
        return found
    if not quick or families:
        return everything
    firsts = {(family, row.name): (family, row) for family, row in reversed(everything)}
    names = {family: list(dict.fromkeys(row.name for own, row in everything if own == family)) for family in FAMILIES}
    return [firsts[family, name] for family in FAMILIES for name in names[family][:SHOWN]]
