"""How much a ratio differs when its row is measured once more: what the rounds of one visit cannot see.

All rounds of a row share one process, one layout of its arrays in memory, one compiled program, and some seconds of the
machine's day. Their spread is that of one visit, and an interval from it alone is too narrow: of 122 ratios of two runs
of this machine only 80% had a number in common with their own. So a run measures some of its rows once more at its end,
each in a fresh process, and widens all of its intervals by what it finds.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from bench._intervals import LEAST, REACH, Interval, log_error, says

__all__ = ["between_visits", "sample", "widened"]

ROWS = 16
"""Rows that are measured once more: two minutes of the 45."""

FEWEST = 8
"""Rows below which a run measures none once more: a standard deviation of fewer says little."""

LONG = 15.0
"""Seconds that a row took, from which on it is left out of the repeats."""

STAGES = ("build", "first calls", "rounds")
"""What of a row is done once more."""


def sample(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows to be measured once more, spread evenly over all that did not take long; none of a few."""
    able = [row for row in rows if sum(row["seconds"].get(stage, 0.0) for stage in STAGES) <= LONG]
    count = min(ROWS, len(able))
    return [able[(2 * i + 1) * len(able) // (2 * count)] for i in range(count)] if len(able) >= FEWEST else []


def between_visits(pairs: Sequence[tuple[Interval, Interval]]) -> float | None:
    """Return the standard deviation, between visits, of a ratio's logarithm.

    A difference of two visits has twice the variance between visits, and the variances within each, which their
    intervals tell. The mean over the pairs is not a robust one: a row that doubles from one visit to the next is what
    is to be counted.

    Args:
        pairs: The ratio and its interval in the first visit, and in the second.

    Returns:
        The standard deviation, 0 where the rounds explain all; ``None`` without pairs.
    """
    if not pairs:
        return None
    excess = [_moved(a[0], b[0]) ** 2 - log_error(a) ** 2 - log_error(b) ** 2 for a, b in pairs]
    return math.sqrt(max(0.0, sum(excess) / len(excess) / 2))


def _moved(before: float, after: float) -> float:
    """Return by how much a ratio's logarithm differs."""
    return math.log(max(after, LEAST) / max(before, LEAST))


def widened(record: dict[str, Any]) -> dict[str, Any]:
    """Return a result whose intervals hold what differs between visits, too, and what they say then.

    On disk the intervals are those of the rounds, so that a run can be resumed; every reader has them from here.
    """
    deviation = (record["run"].get("between_visits") or {}).get("deviation")
    if not deviation:
        return record
    return {**record, "rows": [_widened_row(row, deviation) for row in record["rows"]]}


def _widened_row(row: dict[str, Any], deviation: float) -> dict[str, Any]:
    best = row["best_rival"]
    if best is not None:
        ratio = _wider(best["ratio"], deviation)
        best = {**best, "ratio": ratio, "says": says(tuple(ratio))}
    lines = [{**line, **dict(_of_line(line, deviation))} for line in row["contenders"]]
    return {**row, "best_rival": best, "contenders": lines}


def _of_line(line: dict[str, Any], deviation: float) -> Iterator[tuple[str, Any]]:
    """Yield what changes of a contender: its ratios, but that of ours to itself."""
    if line.get("says") != "itself":
        ratio = _wider(line["ours_over_it"], deviation)
        yield "ours_over_it", ratio
        yield "says", says(tuple(ratio))
    # the unit's own is 1, from 1 to 1
    if line.get("over_gradient") and line["over_gradient"][1] != line["over_gradient"][2]:
        yield "over_gradient", _wider(line["over_gradient"], deviation)


def _wider(interval: Sequence[float], deviation: float) -> list[float]:
    """Return an interval whose ends are further from the median: the two errors are independent, so squares add."""
    middle, low, high = interval
    if min(middle, low) <= 0:
        return list(interval)
    down, up = (math.hypot(math.log(end / middle), REACH * deviation) for end in (low, high))
    return [middle, middle * math.exp(-down), middle * math.exp(up)]
