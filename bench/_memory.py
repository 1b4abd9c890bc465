"""Peak memory of one contender: on a CPU in a process of its own.

The process is forked from one that has imported JAX, torch and the rows, and has computed nothing.
"""

import contextlib
import ctypes
import math
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench._fork import Forks
from bench._phases import Cost
from bench._row import Contender

__all__ = ["Asked", "Peaks", "peak_of", "peak_on_device"]

Asked = dict[str, Any]
"""``family``, ``key``, ``contender`` and ``settings``: what a process is to run."""

PATIENCE = 120
"""Seconds after which a process is stopped."""

PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads of torch that wait do not spin: three processes share the cores, and none of them is timed. Two peaks of
torch at a time took 6.3 seconds so, and 10.2 spinning; the peaks are the same."""

REST = 0.02
"""Seconds between two looks at the memory of a process that has nothing to do."""

CAN = Path("/proc/self/clear_refs")
"""The kernel's high-water mark is reset there; Linux alone has it."""


def _status(field: str) -> int:
    """Return a field of this process's status, in bytes."""
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def return_freed() -> None:
    """Give the system what earlier calls have freed.

    glibc keeps it for the next call, whose peak would not show then: a step of torch that needs 260 MiB was shown with
    32 to 96.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
    if trim is not None:
        trim(0)


def _at_rest() -> int:
    """Return the memory of this process once it falls no more.

    A thread of JAX may free the result of a call some milliseconds after it, when others have the cores: gradients
    of 99 MiB were shown with 2.
    """
    resident = math.inf
    while True:
        return_freed()
        now = _status("VmRSS")
        if now >= resident:
            return now
        resident = now
        time.sleep(REST)


def peak_of(asked: Asked) -> int:
    """Return how far one call raises this process's memory, after a first call has compiled it."""
    from bench._measure import wait
    from bench._run import rebuilt, runners_of

    with rebuilt(asked) as problem:
        runner = next(c for c in runners_of(problem) if c.name == asked["contender"])
        wait(runner.run())
        before = _at_rest()
        CAN.write_text("5")
        wait(runner.run())
        return max(0, _status("VmHWM") - before)


def peak_on_device(runner: Contender, cost: Cost | None) -> int | None:
    """Return how far one call raises the memory of an accelerator, found in this process.

    Some six hundred processes that each start a GPU would take an hour, and a second process finds no TPU. XLA plans
    the memory of a program when it compiles it, its temporaries and results; torch counts its own, and resets the mark.

    Args:
        runner: A contender that has been called.
        cost: Of its program.

    Returns:
        Bytes; ``None`` where the contender is no single program, or the backend does not tell.
    """
    if runner.framework == "torch":
        import torch

        from bench._measure import wait

        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        wait(runner.run())
        return int(torch.cuda.max_memory_allocated() - before)
    if cost is None or cost.temporary_bytes is None or cost.output_bytes is None:
        return None
    return cost.temporary_bytes + cost.output_bytes


class Peaks:
    """Measures peaks, each in a process that is forked for it."""

    def __init__(self, cache: str | None = None) -> None:
        """Start nothing yet; the processes take compiled programs from a persistent cache."""
        self.cache = cache
        self.forks = Forks(PATIENT)

    @contextlib.contextmanager
    def weighing(self, asked: Sequence[Asked]) -> Iterator[dict[str, int | None]]:
        """Measure peaks, two at a time, beside what this process does meanwhile; at the end they are there."""
        heights: dict[str, int | None] = {}
        with ThreadPoolExecutor(2) as pool:
            found = pool.map(self.measure, asked)
            try:
                yield heights
            finally:
                heights.update(zip((one["contender"] for one in asked), found, strict=True))

    def measure(self, asked: Asked) -> int | None:
        """Return a contender's peak in bytes; ``None`` where the system does not tell, or the contender fails."""
        return self.forks.call(peak_of, {**asked, "cache": self.cache}, PATIENCE) if CAN.exists() else None
