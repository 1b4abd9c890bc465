"""The order in which people count: 2 before 10."""

import re

__all__ = ["natural"]


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers in names by their value, and before words."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.findall(r"\d+|\D+", name)]
