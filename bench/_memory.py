"""Peak resident memory of one contender, in a process of its own."""

import json
import re
import subprocess
import sys
from pathlib import Path

__all__ = ["peak_growth", "peak_of"]


def _status(field: str) -> int:
    """Return a field of this process's status, in bytes."""
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def peak_of(family: str, row: str, contender: str, quick: bool) -> int:
    """Return how far one call raises this process's resident memory, after a first call has compiled it.

    The kernel's high-water mark is reset between the two calls (``/proc/self/clear_refs``, Linux only).
    """
    from bench._measure import wait
    from bench._rows import find

    problem = find(family, row).build(quick)
    runner = next(c for c in problem.contenders if c.name == contender)
    wait(runner.run())
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    wait(runner.run())
    return max(0, _status("VmHWM") - before)


def peak_growth(family: str, row: str, contender: str, quick: bool) -> int | None:
    """Measure a contender's peak in a fresh process; ``None`` where the system does not tell."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    code = "import sys, json; from bench._memory import peak_of; print(json.dumps(peak_of(*json.loads(sys.argv[1]))))"
    arguments = json.dumps([family, row, contender, quick])
    done = subprocess.run([sys.executable, "-c", code, arguments], capture_output=True, text=True, check=False)
    return int(done.stdout.splitlines()[-1]) if done.returncode == 0 else None
