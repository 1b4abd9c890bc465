"""A whole run: the ceilings, every row, the curves, and the result, which is on disk after each row."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from bench import _ceilings, _curves, _device, _phases, _record, _repeats, _report, _results, _rivals, _run, _show
from bench._agreement import DisagreementError, in_a_line
from bench._command import leave
from bench._fork import Aside
from bench._memory import Peaks
from bench._row import Row
from bench._rows import key_of
from jaxgrad.fit._run import differences

__all__ = ["Session"]

SAME_PLACE = ("versions", "python", "device", "device_kind", "processor", "threads", "flags")
SAME_RUN = ("quick", "device", "dtype", "families", "rounds", "rivals", "memory")
"""What of its surroundings and of its settings two parts of one run must have in common."""

PATIENCE = 60
"""Seconds after which the second measurement of a row is given up."""

progress = Console(stderr=True)


class Session:
    """What a run has measured so far."""

    def __init__(self, settings: _run.Settings, families: Sequence[str], out: Path | None, start: float) -> None:
        """Measure nothing yet."""
        self.settings, self.families, self.out, self.start = settings, list(families), out, start
        # now: later on there may be another one, of which nothing runs here
        self.commit = _record.commit()
        self.rows: list[dict[str, Any]] = []
        self.curves: list[dict[str, Any]] = []
        self.failed: list[dict[str, str]] = []
        self.left: list[dict[str, str]] = []
        """What failed in an earlier part of the run, and is not asked for now."""
        self.top: dict[str, Any] = {}
        self.parts: list[dict[str, Any]] = []
        self.peaks: Peaks | None = None
        self.order: dict[str, int] = {}
        self.between: dict[str, Any] | None = None
        self.waiting: list[tuple[dict[str, Any], list[str]]] = []
        """The last row, which is timed and not yet weighed, and who of it is to be."""

    def resume(self, again: set[str]) -> None:
        """Take over the rows and curves of a run that was broken off; leave where it was another run.

        Each part of a run has its commit in the result.

        Args:
            again: What runs now, by what it is called: there, what failed is forgotten.
        """
        path = (self.out or Path()) / "results.json"
        if not path.exists():
            return
        kept = _results.load_plain("bench", path)
        now = _results.finite(self.record())
        other = differences(*(_in_common(record) for record in (kept, now)))
        if other:
            leave("bench", f"{path} is of another run: {other}")
        self.rows, self.curves, self.parts = kept["rows"], kept["curves"], kept["run"]["parts"]
        self.top = kept["ceilings"] or {}
        self.left = [one for one in kept["failed"] if one["key"] not in again]
        others = sorted({part["commit"] for part in self.parts} - {self.commit})
        if others and (self.rows or self.curves):
            progress.print(f"what is kept is of commit {', '.join(others)}; this is {self.commit}", highlight=False)

    def run(self, chosen: Sequence[tuple[str, Row]], scaling: bool, resume: bool = False) -> None:
        """Measure the rows, then the curves; leave with 1 where a row has failed."""
        settings = self.settings
        if settings.rivals and _rivals.missing():
            progress.print(f"[dim]not installed, and left out: {', '.join(_rivals.missing())}[/dim]")
        # one cache for all that runs, empty at first: what is called once is found by the processes that weigh it
        with _device.pinned(settings.device, settings.dtype, settings.threads), _phases.fresh_cache() as cache:
            keys = [key_of(family, row, settings.quick) for family, row in chosen]
            if resume:
                curves = _curves.chosen(self.families, settings.quick) if scaling else ()
                self.resume({*keys, *(curve.title for curve in curves)})
            self.top = self.top or self.ceilings()
            self.peaks = Peaks(cache) if settings.memory and settings.device == "cpu" else None
            # those that were kept and are not asked for now stay in front
            self.order = {key: place for place, key in enumerate(keys)}
            seen = set()
            for key, (family, row) in zip(keys, chosen, strict=True):
                if not any(one["key"] == key for one in self.rows):
                    self.measure(family, row, (family, row.name) not in seen)
                seen.add((family, row.name))
            with self.weighing():
                pass
            self.repeat(cache)
            if scaling:
                self.scale()
            self.top = _ceilings.larger(self.top, self.ceilings())
            _ceilings.place(self.rows, self.top)
            self.report()
        if self.failed:
            leave("bench", "; ".join(f"{one['key']}: {one['why']}" for one in self.failed), code=1)

    def ceilings(self) -> dict[str, Any]:
        """Measure what the device can do at most; nothing where that breaks, which must not cost the rows."""

        def tell(line: str) -> None:
            progress.print(f"ceilings: {line}", markup=False, highlight=False)

        try:
            return _ceilings.ceilings(self.settings.dtype, self.settings.quick, tell)
        except Exception as error:
            tell(f"not measured: {in_a_line(error)}; " + ("the first ones count" if self.top else "the run goes on"))
            return {}

    def measure(self, family: str, row: Row, first: bool) -> None:
        """Measure one row; one that breaks must not cost the hour that the others took."""
        key = key_of(family, row, self.settings.quick)
        progress.print(f"[dim]{key}[/dim]", markup=True, highlight=False)
        try:
            result = _run.run_row(family, row, self.settings, self.top, first, self.weighing)
        except DisagreementError as error:
            why = f"the contenders do not agree, so their times mean nothing: {error}"
            self.failed.append({"key": key, "why": why})
            return
        except typer.Exit:  # a full disk, met while the row before was kept, ends the run
            raise
        except _run.BrokenError as error:
            self.failed.append({"key": key, "why": str(error)})
            return
        except Exception as error:
            self.failed.append({"key": key, "why": in_a_line(error)})
            return
        self.waiting.append((result, _run.to_weigh(row, result, first)))
        if self.peaks is None:
            with self.weighing():
                pass

    @contextlib.contextmanager
    def weighing(self) -> Iterator[None]:
        """Weigh the row that waits for it, beside what is done meanwhile; then it is whole, and kept."""
        waiting, self.waiting = self.waiting, []
        asked = [
            {"family": result["family"], "key": result["key"], "contender": name, "settings": self.settings}
            for result, names in waiting
            for name in names
        ]
        try:
            with self.peaks.weighing(asked) if self.peaks else contextlib.nullcontext({}) as heights:
                yield
        finally:
            for result, _ in waiting:
                for line in result["contenders"]:
                    line["peak_bytes"] = heights.get(line["name"], line["peak_bytes"])
                self.keep(result)

    def keep(self, result: dict[str, Any]) -> None:
        """Keep a row that is whole: on the disk, and in words on the screen."""
        self.rows.append(result)
        self.rows.sort(key=lambda one: self.order.get(one["key"], -1))
        self.save()
        _show.console().print(_show.table_of(_repeats.widened_row(result, 0.0)))
        for note in _show.notes_of(result):
            print(f"  {note}")

    def repeat(self, cache: str) -> None:
        """Measure some rows once more, to know how ratios differ between visits; a quick run has no time for it."""
        settings = self.settings
        pairs, keys = [], []
        with contextlib.ExitStack() as stack:
            again = _here  # a second process finds no TPU, and a GPU full of what this one keeps
            if settings.device == "cpu":
                again = stack.enter_context(Aside()).call
            for row in [] if settings.quick else _repeats.sample(self.rows):
                progress.print(f"[dim]once more: {row['key']}[/dim]", highlight=False)
                names = [line["name"] for line in row["contenders"] if line["name"] != "torch.compile"]
                asked = {"family": row["family"], "key": row["key"], "names": names}
                found = again(_run.revisited, asked | {"settings": settings, "cache": cache}, PATIENCE)
                first = {line["name"]: line["ours_over_it"] for line in row["contenders"]}
                pairs += [(first[name], ratio) for name, ratio in (found or {}).items()]
                keys += [row["key"]] if found else []
        deviation = _repeats.between_visits(pairs)
        if deviation is not None:
            self.between = {"deviation": deviation, "ratios": len(pairs), "rows": keys}
            print(_show.of_visits(self.between))
            self.save()

    def scale(self) -> None:
        """Measure the curves of the families; one that breaks must not cost the others."""
        for curve in _curves.chosen(self.families, self.settings.quick):
            if any((c["family"], c["name"], c["axis"]) == (curve.family, curve.row, curve.axis) for c in self.curves):
                continue
            progress.print(f"[dim]{curve.title}[/dim]", highlight=False)
            try:
                found = _curves.run_curve(curve, self.settings)
            except Exception as error:
                self.failed.append({"key": curve.title, "why": in_a_line(error)})
                continue
            self.curves.append(found)
            for line in _show.lines_of_curve(found):
                print(line)
            self.save()

    def record(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        settings = self.settings
        environment = _record.environment(settings.device, settings.threads) | {"commit": self.commit}
        part = {
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.start)),
            "seconds": time.time() - self.start,
            "commit": self.commit,
        }
        parts = [*self.parts, part]
        return {
            "schema": _results.NAME,
            "version": _results.VERSION,
            "environment": environment,
            "run": {
                "quick": settings.quick,
                "device": settings.device,
                "dtype": settings.dtype,
                "families": self.families,
                "rounds": settings.rounds,
                "rivals": settings.rivals,
                "missing": _rivals.missing() if settings.rivals else [],
                "memory": settings.memory,
                "between_visits": self.between,
                "seconds": sum(one["seconds"] for one in parts),
                "parts": parts,
            },
            "ceilings": self.top or None,
            "rows": self.rows,
            "curves": self.curves,
            "failed": [*self.left, *self.failed],
        }

    def save(self) -> None:
        """Write what there is by now, whole; where the disk is full, the last whole one stays, and the run ends."""
        if self.out is None:
            return
        try:
            _results.save(self.out / "results.json", self.record())
        except OSError as error:
            leave("bench", str(error), code=1)

    def report(self) -> None:
        """Write the result and its report."""
        self.save()
        if self.out is None:
            return
        try:
            _report.save(self.out / "report.html", _repeats.widened(_results.finite(self.record())))
        except OSError as error:
            leave("bench", str(error), code=1)


def _in_common(record: dict[str, Any]) -> dict[str, Any]:
    """Return what two parts of one run must have in common."""
    parts = {"environment": SAME_PLACE, "run": SAME_RUN}
    return {name: record[part].get(name) for part, names in parts.items() for name in names}


def _here(function: Callable[[Any], Any], argument: Any, patience: float) -> Any:
    """Return what `Aside.call` does, found in this process, which nothing stops."""
    del patience
    try:
        return function(argument)
    except Exception:
        return None
