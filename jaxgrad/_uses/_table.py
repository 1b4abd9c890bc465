"""A plan in words: rows of text, in columns that stand below each other."""

from collections.abc import Sequence

__all__ = ["lines_of"]


def lines_of(*rows: Sequence[str]) -> list[str]:
    """Return a line for every row, its cells as wide as the widest of their column."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
