"""How a cell is written, and a message of another's: the same digits and signs in every form."""

import math
import re

from jaxgrad.verify.report._document import Cell

__all__ = ["duration", "legal", "written"]

ILLEGAL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML cannot hold and a terminal would obey: control characters, as in coloured messages, and half characters."""


def legal(text: str) -> str:
    """Put the sign for an unknown character in place of what no form can show, so that it is seen to be gone."""
    return ILLEGAL.sub("\ufffd", text)


def written(cell: Cell, kind: str) -> str:
    """Return a cell in words: an error in two digits, a multiple with its sign, a time with its unit."""
    if cell is None or isinstance(cell, str):
        return cell or ""
    if math.isnan(cell):
        return "NaN"
    if kind == "seconds":
        return duration(cell)
    if math.isinf(cell):
        return "-inf" if cell < 0 else "inf"
    if kind == "multiple":
        return f"{cell:.1f}x" if cell < 100 else f"{cell:.0f}x" if cell < 1e5 else f"{cell:.0e}x"
    if kind == "number":
        return f"{cell:.6g}"
    return f"{cell:.1e}" if cell else "0"


def duration(seconds: float) -> str:
    """Return a time in three digits or so and its unit."""
    if seconds < 1 / 1000:
        return f"{seconds * 1e6:.0f}us"
    if seconds >= 120:
        return f"{seconds / 60:.1f}min"
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else f"{seconds:.1f}s"
