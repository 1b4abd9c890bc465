"""What other programs take of the processor meanwhile: times that were measured beside them are not to be trusted."""

import contextlib
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["MUCH", "beside"]

MUCH = 0.05
"""The part of all cores above which a row says so. A process of torch waits for its threads by spinning: one core's
worth beside it made a step of 10 ms one of 120."""

STAT = Path("/proc/stat")


def _busy() -> float | None:
    """Return the seconds that all cores have been busy since the start of the system; Linux alone tells."""
    try:
        user, nice, system, _, _, interrupt, soft, *_ = map(int, STAT.read_text().split("\n", 1)[0].split()[1:])
    except (OSError, ValueError):
        return None
    return (user + nice + system + interrupt + soft) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    """Return the seconds that this process and its ended children have been busy."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


@contextlib.contextmanager
def beside(clock: dict[str, float], name: str) -> Iterator[None]:
    """Write down which part of all cores others took while something ran, where the system tells.

    Args:
        clock: Where it is written.
        name: Under which name.
    """
    start, busy, own = time.perf_counter(), _busy(), _own()
    yield
    after = _busy()
    if busy is not None and after is not None:
        passed = (time.perf_counter() - start) * (os.cpu_count() or 1)
        clock[name] = max(0.0, (after - busy) - (_own() - own)) / passed
