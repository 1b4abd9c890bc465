"""How much a ratio differs when its row is measured once more: what the rounds of one visit cannot see.

All rounds of a row share one process, one layout of its arrays in memory, one compiled program, and some seconds of the
machine's day. Their spread is that of one visit, and an interval from it alone is too narrow: of 122 ratios of two runs
of this machine only 80% had a number in common with their own. So a run measures some of its rows once more at its end,
each in a fresh process, and widens all of its intervals by what it finds.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from bench._intervals import LEAST, RANGES, REACH, Interval, log_error, says

__all__ = ["between_visits", "sample", "widened", "widened_row"]

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
    intervals tell. Paule and Mandel (1982), Consensus values and weighting factors: the variance at which the squares
    of all differences, each over its own variance, have a mean of 1. Unweighted, one row whose rounds spread widely
    outweighs all others: of two runs of one commit one found 0 so, and the other 8.9%.

    Args:
        pairs: The ratio and its interval in the first visit, and in the second.

    Returns:
        The standard deviation, 0 where the rounds explain all; ``None`` without pairs.
    """
    if not pairs:
        return None
    squares = [_moved(a[0], b[0]) ** 2 for a, b in pairs]
    within = [max(log_error(a) ** 2 + log_error(b) ** 2, LEAST) for a, b in pairs]

    def mean(variance: float) -> float:
        return sum(d / (2 * variance + e) for d, e in zip(squares, within, strict=True)) / len(pairs)

    low, high = 0.0, max(squares)  # there the mean is below 1
    if mean(low) <= 1:
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if mean(middle) > 1 else (low, middle)
    return math.sqrt(high)


def _moved(before: float, after: float) -> float:
    """Return by how much a ratio's logarithm differs."""
    return math.log(max(after, LEAST) / max(before, LEAST))


def widened(record: dict[str, Any]) -> dict[str, Any]:
    """Return a result whose intervals hold what differs between visits, too, and what they say then.

    On disk the intervals are those of the rounds, so that a run can be resumed; every reader has them from here.
    """
    deviation = (record["run"].get("between_visits") or {}).get("deviation", 0.0)
    return {**record, "rows": [widened_row(row, deviation) for row in record["rows"]]}


def widened_row(row: dict[str, Any], deviation: float) -> dict[str, Any]:
    """Return a row whose intervals are of 95% where the rounds were few, and hold what differs between visits.

    Args:
        row: As it is on disk.
        deviation: The standard deviation, between visits, of a ratio's logarithm.
    """
    rounds = {line["name"]: line["rounds"] for line in row["contenders"]}
    best = row["best_rival"]
    if best is not None:
        best = {**best, **dict(_changed("ratio", best, rounds.get(best["name"], math.inf), deviation))}
    of_unit = rounds.get(row["unit"], math.inf)
    lines = [{**line, **dict(_of_line(line, of_unit, deviation))} for line in row["contenders"]]
    return {**row, "best_rival": best, "contenders": lines}


def _of_line(line: dict[str, Any], of_unit: float, deviation: float) -> Iterator[tuple[str, Any]]:
    """Yield what changes of a contender: its ratios, but that of ours to itself."""
    if line["says"] != "itself":
        yield from _changed("ours_over_it", line, line["rounds"], deviation)
    # the unit's own is 1, from 1 to 1
    if line.get("over_gradient") and line["over_gradient"][1] != line["over_gradient"][2]:
        yield "over_gradient", _wider(line["over_gradient"], min(line["rounds"], of_unit), deviation)


def _changed(name: str, entry: dict[str, Any], rounds: float, deviation: float) -> Iterator[tuple[str, Any]]:
    """Yield a ratio's interval and what it says, where the interval changes."""
    ratio = _wider(entry[name], rounds, deviation)
    if ratio != entry[name]:
        yield name, ratio
        yield "says", says(tuple(ratio))


def _wider(interval: Sequence[float], rounds: float, deviation: float) -> list[float]:
    """Return an interval whose ends are further from the median: the two errors are independent, so squares add."""
    middle, low, high = interval
    if rounds not in RANGES and not deviation:
        return list(interval)
    down, up = math.log(middle / low), math.log(high / middle)
    if rounds in RANGES:
        down = up = RANGES[rounds] * (down + up)
    down, up = (math.hypot(one, REACH * deviation) for one in (down, up))
    return [middle, middle * math.exp(-down), middle * math.exp(up)]
