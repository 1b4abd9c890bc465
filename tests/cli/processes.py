"""The command as a process that is interrupted: at a moment, or by itself at a planted point."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

__all__ = ["ENVIRONMENT", "interrupt_after", "planted", "script", "start"]

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
# what such a process compiles runs once
ENVIRONMENT |= {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "PYTHONPATH": str(ROOT)}

PLANT = """
import os, signal, sys, time
def interrupt(*_, number=signal.SIGINT):
    os.kill(os.getpid(), number)
    time.sleep(60)
{plant}
"""


def planted(plant: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the script with a few lines of its own before the others, which may call ``interrupt()``."""
    with tempfile.TemporaryDirectory() as folder:
        path = script(Path(folder), PLANT.format(plant=plant))
        with start(path, *map(str, arguments)) as process:
            out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def start(*arguments: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start Python; Ctrl-C and a closed terminal reach it even where a background job or nohup has them ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    closed = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        return subprocess.Popen(
            [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=stderr, text=True, env=ENVIRONMENT
        )
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGHUP, closed)


def script(folder: Path, before: str = "") -> str:
    """Write the script as pip writes it, after some lines of a test's own."""
    path = folder / "jaxgrad"
    lines = "import sys\nfrom jaxgrad.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
    path.write_text(before + lines)
    return str(path)


def interrupt_after(seconds: float, *arguments: str) -> subprocess.CompletedProcess[str] | None:
    """Interrupt a command some seconds after it has taken its signals over; ``None`` where it was faster."""
    with start(*arguments) as process:
        _wait_for_the_handler(process)
        time.sleep(seconds)
        late = process.poll() is not None
        process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        out, err = process.communicate(timeout=120)
    # a process that the system is taking down gets no signals any more, for some tenths of a second
    late = late or (process.returncode == 0 and time.monotonic() - sent < 1)
    return None if late else subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _wait_for_the_handler(process: subprocess.Popen[str]) -> None:
    """Wait until a process catches the closing of its terminal, which Python itself does not."""
    status, end = Path(f"/proc/{process.pid}/status"), time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        if not status.exists():  # no Linux: the handler comes within the first tenths of a second
            time.sleep(1)
            return
        (caught,) = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("SigCgt")]
        if int(caught, 16) >> (signal.SIGHUP - 1) & 1:
            return
        time.sleep(0.002)
