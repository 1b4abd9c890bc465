"""Tables as Markdown has them."""

from collections.abc import Sequence

__all__ = ["table"]


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table, its numbers on the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *lines))
