"""Medians, quartiles, and intervals that assume no distribution."""

import math
import statistics
from collections.abc import Sequence

__all__ = [
    "LEAST",
    "RANGES",
    "REACH",
    "Interval",
    "far",
    "half_width",
    "log_error",
    "median_interval",
    "quartiles",
    "says",
    "settled",
]

LEAST = 1e-12
"""The smallest ratio that has a logarithm here: a clock may say zero."""

Interval = tuple[float, float, float]
"""A median and the ends of its 95% interval."""


def median_interval(values: Sequence[float]) -> Interval:
    """Return the median and its 95% interval by order statistics, which assumes no distribution.

    With fewer than six values the interval is their whole range.
    """
    ordered, n = sorted(values), len(values)
    below = 0
    tail = 0.5**n
    while below < n // 2 and tail + math.comb(n, below + 1) * 0.5**n <= 0.025:
        below += 1
        tail += math.comb(n, below) * 0.5**n
    inner = below if tail <= 0.025 else 0
    return statistics.median(ordered), ordered[inner], ordered[n - 1 - inner]


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the first and the third quartile."""
    if len(values) < 2:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


RANGES: dict[float, float] = {2: 6.35, 3: 1.34, 4: 0.738, 5: 0.56}
"""Half of the 95% interval of the median of so few values, in ranges of theirs, where they are normal, as logarithms of
ratios are taken to be. Without an assumption there is no such interval: the range of four holds their median in 87.5%.
Lord (1947), The use of range in place of standard deviation in the t-test, Biometrika 34, has these numbers for the
mean, which for two is the median; for three to five they are the 95% point of |median| / range in five times two
million samples, to three digits."""


def half_width(interval: Interval) -> float:
    """Return half the width of an interval, relative to its median."""
    median, low, high = interval
    return (high - low) / (2 * median) if median > 0 else math.inf


REACH = 1.96
"""Standard deviations to the end of a 95% interval."""


def log_error(interval: Interval) -> float:
    """Return the standard error that the width of a ratio's interval means, in logarithms."""
    _, low, high = interval
    return (math.log(max(high, LEAST)) - math.log(max(low, LEAST))) / (2 * REACH)


def says(interval: Interval) -> str:
    """Return whether a ratio of times says ``faster``, ``slower``, or ``nothing``: its interval includes 1."""
    _, low, high = interval
    return "faster" if high < 1 else "slower" if low > 1 else "nothing"


def settled(interval: Interval, target: float) -> bool:
    """Return whether a ratio is known well enough: within the target, or within five of it where it is 3 and more.

    Who is three times as slow is known; more rounds would say by how many percent, and cost most of the time.
    """
    return half_width(interval) <= (5 * target if far(interval) else target)


def far(interval: Interval) -> bool:
    """Return whether one of the two takes three times as long as the other, and more."""
    _, low, high = interval
    return low > 3 or high < 1 / 3
