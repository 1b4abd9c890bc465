"""The one clock: agreement first, then interleaved rounds, paired ratios and their interval.

Compilation is timed apart, FLOPs and temporaries come from XLA and do not depend on how busy the machine is.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax

from bench._row import Contender, Problem, Program
from jaxgrad.verify.judge import compare, worst

__all__ = ["Compiled", "Timing", "check_agreement", "compiled", "measure", "median_interval", "paired_ratio"]

SHORTEST_SAMPLE = 0.004
"""Seconds: a call that is shorter is repeated within one sample, since the clock's own noise is some microseconds."""


@dataclass(frozen=True)
class Compiled:
    """What XLA says of a program."""

    trace_s: float
    compile_s: float
    flops: float | None
    temporary_bytes: int | None


@dataclass(frozen=True)
class Timing:
    """The samples of one contender, in seconds a call, one for each round."""

    name: str
    first_call_s: float
    samples: list[float]

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


def check_agreement(problem: Problem, results: dict[str, Any]) -> None:
    """Refuse to time contenders that do not compute the same thing.

    Raises:
        AssertionError: With the contender, the worst leaf and its error.
    """
    ours, *rivals = problem.contenders
    for rival in rivals:
        difference = worst(compare(rival.read(results[rival.name]), ours.read(results[ours.name])))
        if not difference.error <= problem.agreement:
            message = (
                f"{rival.name} and {ours.name} differ at {difference.path or 'the value'} by {difference.error:.2e}"
                f" (allowed {problem.agreement:.0e}) {difference.note}"
            )
            raise AssertionError(message)


def measure(problem: Problem, rounds: int) -> list[Timing]:
    """Time every contender, and the gradient that is the unit, in interleaved rounds A B C A B C."""
    runners = [*problem.contenders, *([problem.gradient] if problem.gradient else [])]
    first, results = {}, {}
    for runner in runners:
        first[runner.name], results[runner.name] = clocked(runner.run)
    if problem.in_float64 is None:
        check_agreement(problem, results)
    else:
        with jax.enable_x64(True):
            check_agreement(problem, {c.name: wait(c.run()) for c in problem.in_float64()})
    # the second call warms the caches and says how many calls make a sample
    calls = {r.name: max(1, math.ceil(SHORTEST_SAMPLE / max(clocked(r.run)[0], 1e-9))) for r in runners}
    samples: dict[str, list[float]] = {runner.name: [] for runner in runners}
    for _ in range(rounds):
        for runner in runners:
            samples[runner.name].append(clocked(runner.run, calls[runner.name])[0])
    return [Timing(runner.name, first[runner.name], samples[runner.name]) for runner in runners]


def compiled(program: Program) -> Compiled:
    """Trace and compile a program anew, and read its cost.

    XLA counts the body of a loop once, so the FLOPs of a program with ``scan`` are a lower bound.
    """
    start = time.perf_counter()
    lowered = jax.jit(lambda *args: program.fun(*args)).lower(*program.args)
    traced = time.perf_counter()
    executable = lowered.compile()
    done = time.perf_counter()
    costs, memory = executable.cost_analysis() or {}, executable.memory_analysis()
    return Compiled(
        traced - start,
        done - traced,
        costs.get("flops") if isinstance(costs, dict) else None,
        getattr(memory, "temp_size_in_bytes", None),
    )


def median_interval(values: list[float]) -> tuple[float, float, float]:
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


def paired_ratio(ours: Timing, other: Timing) -> tuple[float, float, float]:
    """Return our time over another's, round by round: the median of the ratios and its interval."""
    return median_interval([a / b for a, b in zip(ours.samples, other.samples, strict=True)])


def fastest_rival(problem: Problem, timings: list[Timing]) -> Timing | None:
    """Return the rival with the least median time."""
    names = {contender.name for contender in problem.contenders[1:]}
    return min((t for t in timings if t.name in names), key=lambda t: t.median, default=None)


def programs(problem: Problem) -> Iterator[tuple[Contender, Program]]:
    """Yield every contender that XLA compiles, and the gradient."""
    for contender in [*problem.contenders, *([problem.gradient] if problem.gradient else [])]:
        if contender.program is not None:
            yield contender, contender.program
