"""Two results: what has become slower or costlier, and how sure that is.

Times are compared as ratios within one run (to a gradient of the same loss, or else to the best rival), which do not
depend on how fast the machine is; FLOPs and temporaries are compared as they are.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from bench._command import leave
from bench._intervals import Interval, log_error

__all__ = [
    "SMALLEST",
    "Change",
    "alike",
    "changes",
    "check_alike",
    "gone",
    "holm",
    "one_visit",
    "surroundings",
    "table_of",
    "untimed",
]

LEAST_ERROR = 0.005
"""The standard error that a ratio's logarithm has at least: a run's own rounds do not see what differs between runs."""

ONE_VISIT = 0.05
"""The same where a run has measured no row once more, as a quick one: about what full ones find between visits."""

SMALLEST = 1024
"""Bytes by which temporaries may differ: alignment."""

EXACT = ("flops", "temporary_bytes", "collective_bytes")

ALPHA = 0.05
"""How likely a comparison of two runs of the same code may show any regression of a time at all."""


@dataclass
class Change:
    """One quantity of one row in both results."""

    key: str
    what: str
    before: float
    after: float
    p: float | None
    """How likely such a difference, or a larger one, is by noise, corrected for all that is compared; ``None`` where
    the quantity has no noise."""

    @property
    def factor(self) -> float:
        """Return the second result over the first."""
        return self.after / self.before if self.before else math.inf if self.after else 1.0

    def is_regression(self, threshold: float) -> bool:
        """Whether it has grown by more than a threshold, and not by noise."""
        return self.factor > 1 + threshold and (self.p is None or self.p < ALPHA)

    def is_gain(self, threshold: float) -> bool:
        """Whether it has shrunk by as much."""
        return self.factor < 1 / (1 + threshold) and (self.p is None or self.p < ALPHA)


def check_alike(command: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Leave with one line where two results have nothing to compare."""
    for name, place in (("device", "environment"), ("device_kind", "environment"), ("dtype", "run")):
        a, b = before[place][name], after[place][name]
        if a != b:
            leave(command, f"the first result is of {name} {a}, the second of {b}: their numbers mean different things")
    if not {row["key"] for row in before["rows"]} & {row["key"] for row in after["rows"]}:
        leave(command, "the two results have no row in common (a quick and a full run have other sizes)")


def surroundings(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return a line for everything around the two runs that differs: it may be what a ratio differs by."""
    a, b = (_around(record["environment"]) for record in (before, after))
    return [
        f"{name}: {a.get(name, 'none')} in the first result, {b.get(name, 'none')} in the second"
        for name in {**a, **b}
        if a.get(name) != b.get(name)
    ]


def _around(environment: dict[str, Any]) -> dict[str, Any]:
    """Return what of an environment ratios of times depend on."""
    place = {name: environment[name] for name in ("processor", "threads", "python")}
    return {**place, **environment["versions"], **environment["flags"]}


def gone(before: dict[str, Any], after: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
    """Return the rows that only the first result has: those that did not run in the second, and why others failed."""
    failed = {one["key"]: one["why"] for one in after["failed"]}
    keys = sorted({row["key"] for row in before["rows"]} - {row["key"] for row in after["rows"]})
    return [key for key in keys if key not in failed], {key: failed[key] for key in keys if key in failed}


def one_visit(record: dict[str, Any]) -> bool:
    """Whether a run has measured no row once more: its intervals know nothing of what differs between visits."""
    return not record["run"].get("between_visits")


def alike(before: dict[str, Any], after: dict[str, Any]) -> tuple[int, int]:
    """Return how many ratios of our time to another's have a number in common with themselves, and of how many."""
    pairs = [
        (a["ours_over_it"], b["ours_over_it"])
        for first, second in _in_both(before, after)
        for a in first["contenders"][1:]
        for b in second["contenders"][1:]
        if a["name"] == b["name"]
    ]
    return sum(a[1] <= b[2] and b[1] <= a[2] for a, b in pairs), len(pairs)


def untimed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return the rows of both results that have a ratio in the first and none that the second has, too."""
    return [a["key"] for a, b in _in_both(before, after) if _ratio(a, a) and not _ratio(a, b)]


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    """Return every quantity that both results have, the chances corrected together."""
    least = ONE_VISIT if one_visit(before) or one_visit(after) else LEAST_ERROR
    found = [change for a, b in _in_both(before, after) for change in _of_row(a, b, least)]
    noisy = [change for change in found if change.p is not None]
    for change, p in zip(noisy, holm([change.p or 0.0 for change in noisy]), strict=True):
        change.p = p
    return found


def _in_both(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the rows that both results have, as each has them."""
    first = {row["key"]: row for row in before["rows"]}
    return [(first[row["key"]], row) for row in after["rows"] if row["key"] in first]


def _of_row(a: dict[str, Any], b: dict[str, Any], least: float) -> Iterator[Change]:
    """Yield what two results say of one row; a ratio's logarithm has a standard error of ``least`` at least."""
    ratio = _ratio(a, b)
    if ratio is not None:
        what, one, two = ratio
        yield Change(a["key"], what, one[0], two[0], chance(one, two, least))
    ours = [next((c for c in row["contenders"]), {}) for row in (a, b)]
    for name in EXACT:
        before, after = (line.get(name) for line in ours)
        if before is None or after is None:
            continue
        if name == "temporary_bytes" and abs(after - before) <= SMALLEST:
            after = before
        yield Change(a["key"], name, before, after, None)


def _ratio(a: dict[str, Any], b: dict[str, Any]) -> tuple[str, Interval, Interval] | None:
    """Return our time in gradients in both; or, where there is none, in that of the first result's best rival."""
    if not a["contenders"] or not b["contenders"]:
        return None
    ours = [row["contenders"][0].get("over_gradient") for row in (a, b)]
    if None not in ours and a.get("unit") == b.get("unit"):
        return f"time / {a['unit']}", tuple(ours[0]), tuple(ours[1])
    rival = (a.get("best_rival") or {}).get("name")
    lines = [next((c for c in row["contenders"] if c["name"] == rival), None) for row in (a, b)]
    if rival is None or None in lines:
        return None
    return f"time / {rival}", tuple(lines[0]["ours_over_it"]), tuple(lines[1]["ours_over_it"])


def chance(a: Interval, b: Interval, least: float = LEAST_ERROR) -> float:
    """Return how likely two ratios differ as much by noise, two-sided, their logarithms taken as normal."""
    errors = [max(log_error(one), least) for one in (a, b)]
    return math.erfc(abs(math.log(b[0] / a[0])) / math.hypot(*errors) / math.sqrt(2))


def holm(chances: Sequence[float]) -> list[float]:
    """Return chances corrected by Holm's step-down method: that any of them is a false alarm is what is bounded."""
    order = sorted(range(len(chances)), key=lambda i: chances[i])
    out, largest = [0.0] * len(chances), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(chances) - rank) * chances[i]))
        out[i] = largest
    return out


def table_of(title: str, found: Sequence[Change]) -> Table:
    """Draw changes, the largest first."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0), title_style="bold")
    for heading in ("row", "what", "before", "after", "factor", "p"):
        table.add_column(heading, justify="left" if heading in ("row", "what") else "right", overflow="fold")
    for c in sorted(found, key=lambda c: -abs(math.log(max(c.factor, 1e-9)))):
        p = "exact" if c.p is None else f"{c.p:.2g}"
        table.add_row(c.key, c.what, f"{c.before:.4g}", f"{c.after:.4g}", f"{c.factor:.3g}", p)
    return table
