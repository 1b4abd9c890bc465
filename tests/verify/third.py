"""The rows of a catalogue as tests: which of them continuous integration runs, and the goals of all together."""

from collections.abc import Iterable
from typing import Any

import pytest

__all__ = ["every_third", "missed"]

ENOUGH = 10
"""A rate is told of no fewer rows; each of fewer is judged by its own test."""


def every_third(rows: Iterable[tuple[str, Any]], start: int) -> list[Any]:
    """Return rows as parameters of a slow test, every third one for `make catalogue` too.

    The catalogues are sorted by kind, and no kind has fewer than three rows: a step of three takes some of each. The
    start is the cheapest of the three.

    Args:
        rows: a name and a value each.
        start: the number of the first row that is taken, 0 to 2.

    Returns:
        One parameter a row.
    """
    slow, taken = [pytest.mark.slow], [pytest.mark.slow, pytest.mark.catalogue]
    return [pytest.param(row, id=name, marks=taken if n % 3 == start else slow) for n, (name, row) in enumerate(rows)]


def missed(goals: dict[str, list[tuple[bool, float]]]) -> list[str]:
    """Say which goals too few rows meet.

    Args:
        goals: By goal, for every row whether it is met, and the part of the rows that must meet it.

    Returns:
        A sentence for every goal that is not met.
    """
    return [
        f"{goal} in {sum(met for met, _ in marks)} of {len(marks)} rows, at least {marks[0][1]:.0%}"
        for goal, marks in goals.items()
        if len(marks) >= ENOUGH and sum(met for met, _ in marks) < marks[0][1] * len(marks)
    ]
