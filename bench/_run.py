"""One row, from its build to plain data: agreement, phases, rounds."""

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from bench import _agreement, _rivals
from bench._beside import beside
from bench._ceilings import position
from bench._device import pinned, torch_is_there
from bench._intervals import Interval, quartiles, says
from bench._measure import FULL, QUICK, Rule, Timing, first_calls, measure, paired_ratio
from bench._memory import peak_on_device
from bench._phases import Cost, Phases, compiled_quickly, phases, use_cache
from bench._row import Contender, Problem, Row
from bench._rows import FAMILIES, find, key_of

__all__ = ["BrokenError", "Settings", "rebuilt", "revisited", "run_row", "runners_of", "to_weigh"]


class BrokenError(RuntimeError):
    """Our own contender raised: its error in a line."""


@dataclass(frozen=True)
class Settings:
    """What a run of the benchmark was asked for."""

    quick: bool
    device: str
    dtype: str
    threads: int | None = None
    rounds: int | None = None
    rivals: bool = False
    memory: bool = False

    @property
    def rule(self) -> Rule:
        """Return when the rounds of a row end; a number of rounds that was asked for is run whatever it takes."""
        rule = QUICK if self.quick else FULL
        if self.rounds is None:
            return rule
        return dataclasses.replace(rule, least=self.rounds, most=self.rounds, seconds=math.inf)


def run_row(
    family: str,
    row: Row,
    settings: Settings,
    top: dict[str, float],
    first: bool = True,
    meanwhile: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
) -> dict[str, Any]:
    """Measure one row and return its result as plain data, without its peaks of memory.

    Args:
        family: The row's family.
        row: The row.
        settings: What was asked for.
        top: The ceilings.
        first: Whether the row is the first of its name: the others, which differ in sizes, have no compiled form of
            torch.
        meanwhile: Does something else, such as weighing the row before, while this one is judged, which is not timed.

    Raises:
        bench._agreement.DisagreementError: If the contenders do not compute the same thing: then nothing is timed.
        BrokenError: If ours raises, with what it raised.
    """
    spent = Stages()
    with spent("build"):
        problem = row.build(row.sizes(settings.quick, settings.dtype))
        problem, notes, absent = with_forms(problem, settings, first)
    with spent("phases"):
        # the first call below, and the processes that weigh it, find them in the cache of the run
        cache = jax.config.jax_compilation_cache_dir
        keep = Path(cache) if cache else None
        compiled, without = programs_of(runners_of(problem), keep)
        notes |= without
    with spent("first calls"):
        jax.clear_caches()  # so that it is one
        timings = first_calls(runners_of(problem))
    ours = problem.contenders[0].name
    check_ours(timings[ours])
    with spent("agreement"), meanwhile():
        agreement, judged_at, uncompared = agreement_of(row, problem, settings)
    for name, multiple in agreement.coarse.items():
        notes[name] = "; ".join(filter(None, [notes.get(name), f"loses {multiple:.0f} times what the others lose"]))
    unable = torch_is_there(settings.device)
    absent |= {c.name: unable for c in problem.contenders if unable and c.framework == "torch"}
    absent |= uncompared
    timed = [c for c in runners_of(problem) if not timings[c.name].broken and c.name not in absent]
    with spent("rounds"), beside(spent.others, "rounds"):
        settled = measure(timed, timings, settings.rule)
    check_ours(timings[ours])
    absent |= {name: timing.broken for name, timing in timings.items() if timing.broken}
    good = [timings[c.name] for c in timed if not timings[c.name].broken]
    unit = problem.gradient.name if problem.gradient and problem.gradient.name not in absent else None
    by_name = {c.name: c for c in runners_of(problem)}
    # on a CPU they come from other processes, later
    here = settings.memory and settings.device != "cpu"
    peaks = {t.name: peak_on_device(by_name[t.name], compiled.get(t.name, (None, None))[1]) for t in good if here}
    lines = [
        line_of(t, good, ours, unit, compiled.get(t.name), top)
        | {"framework": by_name[t.name].framework, "note": notes.get(t.name, ""), "peak_bytes": peaks.get(t.name)}
        | {"first_call_s": by_name[t.name].compile_s + t.first_call_s}
        for t in good
    ]
    return {
        "key": key_of(family, row, settings.quick),
        "family": family,
        "name": row.name,
        "label": row.label(settings.quick),
        "sizes": {name: list(v) if isinstance(v, tuple) else v for name, v in row.sizes(settings.quick).values.items()},
        "dtype": settings.dtype,
        "agreement": dataclasses.asdict(agreement) | {"at": judged_at},
        "rounds": len(timings[ours].samples),
        "settled": settled,
        "seconds": spent.seconds,
        "beside": spent.others.get("rounds"),
        "unit": unit,
        "best_rival": best_rival(good, ours, unit),
        "contenders": lines,
        "absent": absent,
    }


@contextlib.contextmanager
def rebuilt(asked: dict[str, Any]) -> Iterator[Problem]:
    """Give the problem of a row as plain data name it, under the settings of its run, in a process of its own.

    Args:
        asked: ``family`` and ``key`` of the row, the ``settings``, and the ``cache`` that has the compiled programs.
    """
    settings = asked["settings"]
    if asked["cache"]:
        use_cache(asked["cache"])
    with pinned(settings.device, settings.dtype, settings.threads):
        row = find(asked["family"], asked["key"], settings.quick)
        yield row.build(row.sizes(settings.quick, settings.dtype))


def revisited(asked: dict[str, Any]) -> dict[str, Interval]:
    """Measure a row that has been judged, in a process that has measured nothing yet; return our time over each.

    Args:
        asked: What `rebuilt` takes, and ``names``, those whose ratios are asked for.
    """
    with rebuilt(asked) as problem:
        runners = [c for c in runners_of(problem) if c.name in asked["names"]]
        timings = first_calls(runners)
        timed = [c for c in runners if not timings[c.name].broken]
        measure(timed, timings, asked["settings"].rule)
    ours, *others = (timings[c.name] for c in timed if not timings[c.name].broken)
    return {other.name: paired_ratio(ours, other) for other in others if ours.name == asked["names"][0]}


def to_weigh(row: Row, result: dict[str, Any], first: bool) -> list[str]:
    """Return whose memory is asked for: of a row that is not the first of its name, ours and mostly the best rival's.

    What torch.compile made is not in the process that is forked.
    """
    names = [line["name"] for line in result["contenders"] if line["name"] != "torch.compile"]
    best = result["best_rival"] if row.rival_weighed else None
    return [name for name in names if first or name == names[0] or (best and name == best["name"])]


class Stages:
    """The seconds that the stages of a row take: where the time of a whole run goes."""

    def __init__(self) -> None:
        """Nothing is spent yet."""
        self.seconds: dict[str, float] = {}
        self.others: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Clock a stage."""
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


def runners_of(problem: Problem) -> list[Contender]:
    """Return the contenders, ours first, and the gradient that is the unit of cost."""
    return [*problem.contenders, *([problem.gradient] if problem.gradient else [])]


def programs_of(
    runners: Sequence[Contender], keep: Path | None
) -> tuple[dict[str, tuple[Phases, Cost]], dict[str, str]]:
    """Return the phases and the cost of every program, and what to say of rivals whose program does not compile."""
    found, without = {}, {}
    for place, runner in enumerate(runners):
        if runner.program is None:
            continue
        try:
            found[runner.name] = phases(runner.program, keep)
        except Exception as error:
            if place == 0:
                raise
            without[runner.name] = f"its program alone does not compile: {_agreement.in_a_line(error)}"
    return found, without


def check_ours(timing: Timing) -> None:
    """Leave a row whose own contender is broken: there is nothing to compare with.

    Raises:
        BrokenError: With what it raised.
    """
    if timing.broken:
        raise BrokenError(timing.broken)


def with_forms(problem: Problem, settings: Settings, first: bool) -> tuple[Problem, dict[str, str], dict[str, str]]:
    """Add torch's compiled form where rivals are asked for; return notes, and who cannot run and why."""
    absent = dict(problem.absent)
    if not settings.rivals or not first:
        kept = [c for c in problem.contenders if c.name != "torch.compile"]
        if len(kept) < len(problem.contenders):
            absent["torch.compile"] = "compiles for half a minute: --rivals has it, in the first row of a name"
        return dataclasses.replace(problem, contenders=kept), {}, absent
    form, note = _rivals.compiled_form(problem.contenders)
    if form is None:
        return problem, {}, absent | ({"torch.compile": note} if note else {})
    return dataclasses.replace(problem, contenders=[*problem.contenders, form]), {form.name: note}, absent


def agreement_of(row: Row, problem: Problem, settings: Settings) -> tuple[_agreement.Agreement, str, dict[str, str]]:
    """Judge the contenders, at the sizes of the run unless float64 takes too long there.

    Returns:
        What was found, at which sizes, and who gave nothing to compare, which is not timed.
    """
    changes = {} if settings.quick else dict(row.judged)
    build = functools.partial(_build_plain, row, settings.quick, changes)
    judged = problem
    if changes:
        has_form = any(c.name == "torch.compile" for c in problem.contenders)
        judged, *_ = with_forms(row.build(row.sizes(settings.quick, settings.dtype, **changes)), settings, has_form)
    # programs of other sizes than the timed ones are compiled for their answers alone, as those in float64 are
    with compiled_quickly() if changes else contextlib.nullcontext():
        found, _ = _agreement.answers(judged.contenders)
    exact = functools.partial(_agreement.exactly, build)
    again = functools.partial(_agreement.once_more, build, settings.dtype)
    agreement = _agreement.agree(judged, found, exact, again, settings.dtype)
    without = {c.name: "it gave no answer to compare" for c in problem.contenders if c.name not in found}
    return agreement, row.label(settings.quick, **changes), without


def _build_plain(row: Row, quick: bool, changes: dict[str, Any], dtype: Any) -> Problem:
    """Build a row without what compiles for half a minute, for its answers alone."""
    problem = row.build(row.sizes(quick, dtype, **changes))
    return dataclasses.replace(problem, contenders=[c for c in problem.contenders if c.name != "torch.compile"])


def best_rival(timings: Sequence[Timing], ours: str, unit: str | None) -> dict[str, Any] | None:
    """Return who is fastest beside what is ours, and our time over that."""
    rivals = [t for t in timings if t.name not in (ours, unit) and t.samples and not _is_own(t.name)]
    mine = next((t for t in timings if t.name == ours), None)
    if not rivals or mine is None:
        return None
    best = min(rivals, key=lambda t: t.median)
    ratio = paired_ratio(mine, best)
    return {"name": best.name, "ratio": list(ratio), "says": says(ratio)}


def _is_own(name: str) -> bool:
    """Whether a contender is another way through this library: ``jaxgrad, dense``, ``curvature.solve``."""
    return name.startswith("jaxgrad") or name.split(".")[0] in FAMILIES


def line_of(
    timing: Timing, timings: Sequence[Timing], ours: str, unit: str | None, program: Any, top: dict[str, float]
) -> dict[str, Any]:
    """Return what is known of one contender."""
    by_name = {t.name: t for t in timings}
    ratio, first, third = paired_ratio(by_name[ours], timing), *quartiles(timing.samples)
    costs = {**dataclasses.asdict(program[0]), **dataclasses.asdict(program[1])} if program else {}
    return {
        "name": timing.name,
        "median_s": timing.median,
        "quartiles_s": [first, third],
        "rounds": len(timing.samples),
        "ours_over_it": list(ratio),
        "says": says(ratio) if timing.name != ours else "itself",
        "over_gradient": list(paired_ratio(timing, by_name[unit])) if unit else None,
        **costs,
        "roofline": position(costs.get("flops"), costs.get("bytes"), timing.median, top, costs.get("array_bytes")),
    }
