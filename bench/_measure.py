"""The one clock: rounds of all contenders in shuffled order until the ratios are known, paired round by round."""

import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from bench._agreement import in_a_line
from bench._intervals import Interval, far, median_interval, settled
from bench._row import Contender

__all__ = ["Rule", "Timing", "clocked", "first_calls", "measure", "paired_ratio", "wait"]

SHORTEST_SAMPLE = 0.004
"""Seconds: a call that is shorter is repeated within one sample, since the clock's own noise is some microseconds."""


LONG = 0.2
"""Seconds from which on a call is its own warm-up."""

FEW = 3
"""Rounds that are enough where one takes three times as long as the other in each of them."""

SLOW = 5.0
"""Seconds of a call from which on two such rounds are enough: a rival whose every call takes 100 seconds took 11
minutes of a run."""


@dataclass(frozen=True)
class Rule:
    """When the rounds of a row end."""

    target: float
    """The half-width, relative to the ratio, at which a ratio is known."""
    least: int
    """Rounds that are always run; six is the least that has an interval within their range."""
    most: int
    """Rounds at most."""
    seconds: float
    """Seconds after which no further round begins, once half of the least are run."""


QUICK, FULL = Rule(0.1, 6, 9, 1.0), Rule(0.03, 8, 31, 2.5)
"""A full run's ratios differ by some percent between visits (`bench._repeats`): more rounds of one know no more."""


@dataclass
class Timing:
    """The samples of one contender, in seconds a call, one for each round that it took part in: the first ones."""

    name: str
    first_call_s: float
    samples: list[float] = field(default_factory=list)
    broken: str = ""
    """What went wrong where it raised in the middle; its samples are not used."""

    @property
    def median(self) -> float:
        """Return the middle sample."""
        return statistics.median(self.samples)


def wait(result: Any) -> Any:
    """Return a result once the devices have finished with it."""
    jax.block_until_ready([leaf for leaf in jax.tree.leaves(result) if isinstance(leaf, jax.Array)])
    if any(getattr(leaf, "is_cuda", False) for leaf in jax.tree.leaves(result)):
        import torch

        torch.cuda.synchronize()
    return result


def clocked(run: Callable[[], Any], calls: int = 1) -> tuple[float, Any]:
    """Return the seconds a call takes, the mean of a few calls in a row, and the last result."""
    start = time.perf_counter()
    for _ in range(calls):
        result = wait(run())
    return (time.perf_counter() - start) / calls, result


def first_calls(runners: Sequence[Contender]) -> dict[str, Timing]:
    """Call every contender once, with whatever it traces and compiles; one that raises is told."""
    found = {}
    for runner in runners:
        try:
            found[runner.name] = Timing(runner.name, clocked(runner.run)[0])
        except Exception as error:  # a contender that breaks must not cost the row
            found[runner.name] = Timing(runner.name, math.nan, broken=in_a_line(error))
    return found


def measure(runners: Sequence[Contender], timings: dict[str, Timing], rule: Rule) -> bool:
    """Time contenders in rounds of shuffled order until every ratio to ours is known.

    A contender whose ratio is known takes no further part: its ratio is of the rounds that both ran.

    Args:
        runners: The contenders that did not break, ours first.
        timings: By name, where their samples go.
        rule: When to stop.

    Returns:
        Whether all ratios were known before the rounds or the seconds ran out.
    """
    ours, *others = runners
    # in a fixed order one contender would always follow the same other, which may leave it a worse cache than others
    # get; a seed, so that two runs measure alike
    order = random.Random(0)
    seconds = {r.name: _about(r, timings[r.name]) for r in runners}
    active = [r for r in others if not timings[r.name].broken]
    start = time.perf_counter()
    gc.collect()
    for done in range(1, rule.most + 1):
        for runner in order.sample([ours, *active], 1 + len(active)):
            _sample(runner, timings[runner.name], seconds[runner.name])
        if timings[ours.name].broken:
            return False
        active = [r for r in active if not _known(timings[ours.name], timings[r.name], rule)]
        if not active:
            return True
        if time.perf_counter() - start > rule.seconds and done >= rule.least // 2:
            return False
    return False


def _about(runner: Contender, timing: Timing) -> float:
    """Return about how many seconds a call takes: by a second one, which warms the caches; where it raises, it is told.

    The first call of torch compiles nothing, but for that of torch.compile, and is enough where it was long.
    """
    eager = runner.framework == "torch" and runner.name != "torch.compile"
    if eager and timing.first_call_s > LONG:
        return timing.first_call_s
    try:
        return max(clocked(runner.run)[0], 1e-9)
    except Exception as error:
        timing.broken = in_a_line(error)
        return math.inf


def _sample(runner: Contender, timing: Timing, seconds: float) -> None:
    """Take one sample, unless the contender is broken by now.

    A call before it, without the clock, takes what the contender before left behind: its data in the caches, and the
    threads of its framework, which spin for some milliseconds on the cores that this one needs. Without it the same
    program came out 20 to 25% slower after a contender in torch than after one in JAX. A call that takes long needs
    none: what is left behind is a hundredth of it.

    Args:
        runner: The contender.
        timing: Where the sample goes.
        seconds: About how long a call takes.
    """
    if timing.broken:
        return
    try:
        if seconds < LONG:
            wait(runner.run())
        timing.samples.append(clocked(runner.run, math.ceil(SHORTEST_SAMPLE / seconds))[0])
    except Exception as error:  # such as memory that has run out
        timing.broken = in_a_line(error)


def _known(ours: Timing, other: Timing, rule: Rule) -> bool:
    """Whether a ratio needs no more rounds; who is far behind takes most of the time, and needs few."""
    if other.broken:
        return True
    ratio = paired_ratio(ours, other)
    if far(ratio) and other.median > SLOW:
        return len(other.samples) > 1
    least = min(rule.least, FEW) if far(ratio) else rule.least
    return len(other.samples) >= least and settled(ratio, rule.target)


def paired_ratio(ours: Timing, other: Timing) -> Interval:
    """Return our time over another's, round by round: the median of the ratios and its interval."""
    rounds = min(len(ours.samples), len(other.samples))
    return median_interval([a / b for a, b in zip(ours.samples[:rounds], other.samples[:rounds], strict=True)])
