"""Scaling: a row over its natural size, and the exponent of its time, with an interval."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from bench._agreement import in_a_line
from bench._measure import SHORTEST_SAMPLE, clocked, first_calls
from bench._phases import Cost, cold, cost_of, fresh_cache
from bench._row import Contender, Row
from bench._rows import rows_of
from bench._run import Settings

__all__ = ["CURVES", "Curve", "chosen", "exponent", "run_curve"]


@dataclass(frozen=True)
class Curve:
    """A row whose size along one axis is varied."""

    family: str
    row: str
    """The name of the row, the first of that name."""
    axis: str
    """What is varied, in words: ``order``, ``examples``, ..."""
    full: Sequence[int]
    small: Sequence[int]
    """Empty where a quick run leaves it out."""
    change: Callable[[int], dict[str, Any]]
    """Returns the sizes of the row that change with a size along the axis."""

    @property
    def title(self) -> str:
        """Return what the curve is called in a run."""
        return f"{self.family}.{self.row} over {self.axis}"

    def find(self) -> Row:
        """Return the row."""
        return next(row for row in rows_of(self.family) if row.name == self.row)


def wide(width: int) -> dict[str, Any]:
    """Return a network of three layers of a width."""
    return {"mlp": (width, width, width, 10)}


CURVES = [
    Curve("gradient", "parameter_gradient", "width", (128, 256, 512, 1024), (32, 64, 128), wide),
    Curve("shift", "expected_gradient", "shifts", (2, 4, 8, 16, 32), (2, 4, 8), lambda k: {"shifts": k}),
    Curve("nth", "derivatives", "order", (1, 2, 4, 8, 16, 24), (1, 2, 4), lambda n: {"order": n}),
    Curve(
        "nth",
        "laplacian",
        "variables",
        (4, 8, 16, 32, 64),
        (),
        lambda d: {"mlp": (d, 128, 128, 128, 128, 1)},
    ),
    Curve("curvature", "hvp", "width", (128, 256, 512, 1024), (32, 64, 128), wide),
    Curve("curvature", "over_dataset", "batches", (8, 16, 32, 64), (), lambda n: {"batches": n}),
    Curve("meta", "maml_gradient", "inner steps", (1, 4, 16, 64), (1, 4, 16), lambda n: {"steps": n}),
    Curve("inr", "gradient_loss", "points", (512, 1024, 2048, 4096, 8192), (64, 128, 256), lambda n: {"points": n}),
    Curve("per_example", "clipped_sum", "examples", (32, 64, 128, 256, 512), (), lambda n: {"batch": n}),
    Curve("per_example", "values", "examples", (32, 64, 128, 256), (16, 32, 64), lambda n: {"batch": n}),
    Curve("multi_loss", "gradients", "losses", (2, 4, 8, 16), (2, 4, 8), lambda k: {"heads": k}),
]

ROUNDS = {True: 5, False: 9}
"""Interleaved rounds, in small and in full."""


def chosen(families: Sequence[str], quick: bool) -> list[Curve]:
    """Return the curves of families; some are not in a quick run."""
    return [curve for curve in CURVES if curve.family in families and (curve.small if quick else curve.full)]


def run_curve(curve: Curve, settings: Settings) -> dict[str, Any]:
    """Time our contender at every size, in interleaved rounds, and fit exponents; a size that breaks is told."""
    row = curve.find()
    sizes = curve.small if settings.quick else curve.full
    runners, compiled, broken = {}, {}, {}
    # a cache of its own: what the rows have compiled is not in it, what the first calls look for is
    with fresh_cache():
        for size in sizes:
            try:
                contender = row.build(row.sizes(settings.quick, settings.dtype, **curve.change(size))).contenders[0]
                if contender.program is not None:
                    steps, executable = cold(contender.program)
                    compiled[size] = sum(steps), cost_of(executable)
            except Exception as error:  # such as memory that does not hold the inputs
                broken[str(size)] = in_a_line(error)
                continue
            runners[size] = contender
        # after all have been traced, which empties JAX's caches
        calls = {size: _calls(contender) for size, contender in runners.items()}
    broken |= {str(size): why for size, why in calls.items() if isinstance(why, str)}
    seconds = {size: [] for size, count in calls.items() if isinstance(count, int)}
    for _ in range(ROUNDS[settings.quick]):
        for size, samples in seconds.items():
            samples.append(clocked(runners[size].run, calls[size])[0])
    points = [_point(size, float(np.median(seconds[size])), compiled.get(size)) for size in seconds]
    first = next(iter(sizes))
    return {
        "family": curve.family,
        "name": row.name,
        "label": row.label(settings.quick, **curve.change(first)),
        "axis": curve.axis,
        "dtype": settings.dtype,
        "points": points,
        "broken": broken,
        "exponents": {
            key: exponent([(p["size"], p[key]) for p in points if p.get(key)])
            for key in ("median_s", "compile_s", "flops", "temporary_bytes")
        },
    }


def _calls(contender: Contender) -> int | str:
    """Call a contender twice; return how many calls the clock can tell, or what broke."""
    first, second = (first_calls([contender])[contender.name] for _ in range(2))
    return first.broken or second.broken or math.ceil(SHORTEST_SAMPLE / max(second.first_call_s, 1e-9))


def _point(size: int, seconds: float, compiled: tuple[float, Cost] | None) -> dict[str, Any]:
    """Return what is known at one size."""
    if compiled is None:
        return {"size": size, "median_s": seconds}
    compile_s, cost = compiled
    return {
        "size": size,
        "median_s": seconds,
        "compile_s": compile_s,
        "flops": cost.flops,
        "temporary_bytes": cost.temporary_bytes,
    }


def exponent(points: Sequence[tuple[float, float]]) -> list[float] | None:
    """Return the slope of a line through the logarithms, and its 95% interval by Student's distribution.

    A curve whose fixed costs show bends, and its interval says so: it is wide. ``None`` for fewer than three points.
    """
    if len(points) < 3:
        return None
    x, y = (np.log([float(p[i]) for p in points]) for i in (0, 1))
    x, y = x - x.mean(), y - y.mean()
    slope = float(x @ y / (x @ x))
    left = y - slope * x
    error = math.sqrt(float(left @ left) / (len(points) - 2) / float(x @ x))
    reach = float(stdtrit(len(points) - 2, 0.975)) * error
    return [slope, slope - reach, slope + reach]
