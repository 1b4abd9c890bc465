"""Two workers: this process takes the cases from the start of the list, a second one those from its end.

Almost all of a run is compilation, which one process does mostly on one core. Processes and not threads, since a case
may time itself, draw from torch's generator, or change a setting of its process. Both take the next case when they
have done one, so that nothing needs to be known about how long each takes.
"""

import json
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import jax

from jaxgrad.verify._errors import CannotRun
from jaxgrad.verify.cases._case import CASES, Case
from jaxgrad.verify.cases._fault_injection import Plant
from jaxgrad.verify.cases._result import Row
from jaxgrad.verify.cases._run import find_device, prepare, run_case
from jaxgrad.verify.cases._select import select

__all__ = ["Workers", "case_runner", "is_worthwhile"]

WORKER = Path(__file__).with_name("_worker.py")
"""The file that the second process starts from; it imports this module, so this one does not import it."""

MANY = 8
"""From so many cases on a second process is worth its imports, which take as long as a case or two."""

WORKER = Path(__file__).with_name("_worker.py")
"""What the second process runs; it imports this module in its turn."""

END = object()
"""Comes after the last row of a case."""


def is_worthwhile(cases: Sequence[Case], device: jax.Device | None) -> bool:
    """Say whether a second worker would help: not on one core, and not on an accelerator, which one process owns."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    platform = device.platform if device is not None else jax.default_backend()
    return len(cases) >= MANY and cores > 1 and platform == "cpu"


RunCase = Callable[[Case], Iterator[Row]]
"""Yields the rows of a case."""


@contextmanager
def case_runner(
    cases: Sequence[Case], *, device: str | None = None, plant: Plant | None = None, figures: Path | None = None
) -> Iterator[RunCase]:
    """Make ready what runs built-in cases one by one, for whoever shows how far it is.

    Args:
        cases: The cases, as `select` returns them.
        device: The platform for JAX, as in `run`.
        plant: An error to plant in our own result, as in `run`.
        figures: A folder for pictures, as in `run`.

    Returns:
        A context with a function that yields the rows of one of the cases. Many cases on several cores are shared with
        a second process, which ends with the context.

    Raises:
        CannotRun: If the device, a package or the folder is not there.

    Cost:
        A second process, where it is worth its start.

    Example:
        >>> from jaxgrad import verify
        >>> with verify.case_runner(verify.select("H2")) as run_case:
        ...     print([row.verdict for row in run_case(verify.select("H2")[0])])
        ['agree', 'agree', 'agree']

    References:
        The table of cases in the README.
    """
    place = prepare(cases, device, plant, figures)
    if is_worthwhile(cases, place):
        with Workers(cases, device=place, plant=plant, figures=figures) as workers:
            yield workers.run_case
    else:
        yield lambda case: run_case(case, device=place, plant=plant, figures=figures)


class Workers:
    """This process and a second one, which share some cases; a context, at whose end the second process ends."""

    def __init__(
        self, cases: Sequence[Case], *, device: jax.Device | None, plant: Plant | None, figures: Path | None
    ) -> None:
        """Start the second process; it finds the built-in cases by their ids, and gets no others."""
        self.here: dict[str, Any] = {"device": device, "plant": plant, "figures": figures}
        self.left = [case for case in cases if CASES.get(case.id) is case]
        self.rows: dict[str, queue.SimpleQueue[Any]] = {}
        self.lock = threading.Lock()
        # a session of its own: Ctrl-C is for this process, whose end closes the pipes
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        options = {
            "device": device.platform if device is not None else None,
            "plant": [plant.case, plant.leaf] if plant is not None else None,
            "figures": str(figures) if figures is not None else None,
        }
        self.thread = threading.Thread(target=self._serve, args=(options,), daemon=True)
        self.thread.start()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.left.clear()
        # its end, in the middle of a case where this process has an error, ends the thread too
        self.process.kill()
        self.thread.join()
        with suppress(BrokenPipeError), self.process:
            pass

    def run_case(self, case: Case) -> Iterator[Row]:
        """Yield the rows of a case: computed here, or by the other process if it has taken it.

        Raises:
            CannotRun: As `jaxgrad.verify.cases._run.run_case`.
        """
        with self.lock:
            other = self.rows.get(case.id)
            if other is None and case in self.left:
                self.left.remove(case)
        if other is None:
            yield from run_case(case, **self.here)
            return
        for answer in iter(other.get, END):
            if isinstance(answer, CannotRun):
                raise answer
            yield answer

    def _take(self) -> Case | None:
        """Take the last case that is left, for the other process."""
        with self.lock:
            if not self.left:
                return None
            case = self.left.pop()
            self.rows[case.id] = queue.SimpleQueue()
            return case

    def _serve(self, options: dict[str, Any]) -> None:
        """Hand cases to the other process, one at a time, and take its rows; should it die, that is a row."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        orders: list[Any] = [sys.path, options]
        while case := self._take():
            try:
                orders.append(case.id)
                self.process.stdin.write("".join(f"{json.dumps(order)}\n" for order in orders).encode())
                self.process.stdin.flush()
                orders.clear()
                while (answer := pickle.load(self.process.stdout)) is not None:
                    self.rows[case.id].put(answer)
            except (OSError, EOFError, pickle.UnpicklingError) as error:
                self.rows[case.id].put(self._lost(case, error))
                return
            finally:
                self.rows[case.id].put(END)

    def _lost(self, case: Case, error: Exception) -> Row:
        """Return the row of a case whose process died; the cases that are left are computed here."""
        self.process.kill()
        status = self.process.wait()
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        reason = f"the process that computed it ended {how} ({type(error).__name__})"
        return Row(case.id, case.title, "the case itself", "differ", reason=reason)


def answer(id: str, options: dict[str, Any], answers: IO[bytes]) -> None:  # noqa: A002 - the field's word, as in `case`
    """Compute a case in the other process, and write its rows, then ``None``."""
    plant, figures = options["plant"], options["figures"]
    here: dict[str, Any] = {
        "device": find_device(options["device"]),
        "plant": Plant(*plant) if plant is not None else None,
        "figures": Path(figures) if figures is not None else None,
    }
    try:
        for row in run_case(*select(id), **here):
            _write(row, answers)
    except CannotRun as error:
        _write(error, answers)
    _write(None, answers)


def _write(message: Row | CannotRun | None, answers: IO[bytes]) -> None:
    """Write one answer, at once."""
    pickle.dump(message, answers)
    answers.flush()
