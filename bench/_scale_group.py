"""Starts the processes of a run, and sees to it that one that is lost ends them all, in time and with one line."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxgrad import _interrupt

__all__ = ["LOST", "Ended", "alive", "end_with_parent", "run_group"]

WORKER = (sys.executable, "-m", "bench._scale_worker")

MARGIN = 5.0
"""Seconds beyond the time-out after which what still runs is killed: heartbeats are late by a few."""

LONGEST = 60.0
"""Seconds without a sign of life that processes may take whatever the time-out is: to start, to compile a program."""

EVERY = 1.0
"""Seconds from one sign of life to the next of the same words."""

HUNG = "did nothing for"
"""How it is said that no process went on."""

LOST = "lost another process"
"""How a process says so."""

FATAL = "Terminating process because the JAX distributed service detected fatal errors"
"""What JAX's coordination service writes where heartbeats have stopped, before it aborts the process."""

TOLD = f"{LOST}, as JAX's coordination service found"
"""What is said of such a process."""


@dataclass(frozen=True)
class Ended:
    """How a process has ended."""

    index: int
    code: int
    """Its status; the negative number of a signal."""
    after: float
    """Seconds after the first that failed."""
    words: str
    """Its own, or what is known."""

    @property
    def is_lost(self) -> bool:
        """Whether another process was lost to it: it is not the cause."""
        return self.words.startswith(LOST)

    @property
    def is_hung(self) -> bool:
        """Whether it lived, and did not go on, nor did the others."""
        return self.words.startswith(HUNG)

    def __str__(self) -> str:
        """Say it."""
        return f"process {self.index} {self.words}" + (f" {self.after:.1f} s later" if self.after >= 0.05 else "")


def run_group(
    settings: Sequence[dict[str, Any]],
    time_out: float,
    heard: Callable[[str, Any], None],
    started: Callable[[int, int], None] = lambda *_: None,
    command: Sequence[str] = WORKER,
) -> list[Ended]:
    """Run processes to their end.

    Args:
        settings: What each is told.
        time_out: Seconds that the others have, once one has failed, to find that out by themselves; and after which
            processes that all live are ended where none goes on, though not before `LONGEST`.
        heard: Is called with the kind and the content of each thing that a process says.
        started: Is called with the index and the process id of each.
        command: What a process runs; what it is told comes behind, as JSON.

    Returns:
        Those that failed, in the order in which they did; nothing where all went well.
    """
    with _children(settings, command) as (children, logs):
        for index, child in children:
            started(index, child.pid)
        ended: list[Ended] = []
        running, first, patience = dict(children), None, time_out + MARGIN
        longest = max(time_out, LONGEST) + MARGIN
        while running:
            for index, child in list(running.items()):
                _hear(logs[index], heard)
                code = child.poll()
                if code is None:
                    continue
                del running[index]
                _hear(logs[index], heard)
                if code:
                    first = first or time.monotonic()
                    ended.append(Ended(index, code, time.monotonic() - first, logs[index].words(code)))
                    # the time-out is over by then, and all that still hear the service end at once
                    patience = MARGIN if ended[-1].words == TOLD else patience
            # heartbeats tell of a process that is gone, and go on where all wait for each other
            quiet = time.monotonic() - max(log.heard for log in logs.values())
            if (time.monotonic() - first > patience) if first else (running and quiet > longest):
                for index, child in running.items():
                    child.kill()
                    child.wait()
                    words = f"was silent for {patience:g} s more, and was killed"
                    if not first:
                        words = f"{HUNG} {longest:g} s ({logs[index].doing}), and was killed"
                    ended.append(Ended(index, -signal.SIGKILL, 0.0, words))
                break
            time.sleep(0.05)
    return ended


_last: dict[str, Any] = {"words": "", "at": 0.0}


def alive(doing: str | None = None) -> None:
    """Tell the process that has started this one that this one goes on, and what it does, at most once a second.

    Args:
        doing: What it does now, in a few words; ``None``: what was said last, if anything was.
    """
    now = time.monotonic()
    if doing or (_last["words"] and now - _last["at"] >= EVERY):
        _last.update(words=doing or _last["words"], at=now)
        print(json.dumps(_last["words"]), flush=True)


def end_with_parent() -> None:
    """Let this process end when the one that has started it is gone, however it went: a pipe from it closes then."""

    def watch() -> None:
        # not through sys.stdin: Python aborts at its exit where a thread holds the lock of that
        while os.read(0, 1024):
            pass
        os._exit(3)

    threading.Thread(target=watch, daemon=True).start()


class _Log:
    """What a process has written: its findings to the one file, all else to the other."""

    def __init__(self, folder: Path, index: int) -> None:
        """Open both for writing."""
        self.out, self.err = folder / f"{index}.out", folder / f"{index}.err"
        self.files = self.out.open("wb"), self.err.open("wb")
        self.read = 0
        self.heard, self.doing = time.monotonic(), "starting"

    def lines(self) -> Iterator[str]:
        """Return the whole lines that are new."""
        with self.out.open("rb") as file:
            file.seek(self.read)
            new = file.read()
        if new:
            self.heard = time.monotonic()
        whole = new[: new.rfind(b"\n") + 1]
        self.read += len(whole)
        yield from whole.decode(errors="replace").splitlines()

    def words(self, code: int) -> str:
        """Say in a few words why the process has ended."""
        lines = [line for line in self.err.read_text(errors="replace").splitlines() if line.strip()]
        own = [line.removeprefix("bench.scale: ") for line in lines if line.startswith("bench.scale: ")]
        # an error of ours may be followed by the service's: ours was there first
        if own:
            return own[0]
        if any(FATAL in line for line in lines):
            return TOLD
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with status {code}: {lines[-1][:300] if lines else 'it said nothing'}"


def _hear(log: _Log, heard: Callable[[str, Any], None]) -> None:
    """Pass on what a process has found, and note what it does."""
    for line in log.lines():
        # what a library prints is none of it
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, str):
            log.doing = said
        for kind, found in said.items() if isinstance(said, dict) else ():
            heard(kind, found)


@contextlib.contextmanager
def _children(
    settings: Sequence[dict[str, Any]], command: Sequence[str]
) -> Iterator[tuple[list[tuple[int, Any]], dict[int, _Log]]]:
    """Start the processes, and leave none behind."""
    children: list[tuple[int, Any]] = []

    def end(_: str = "") -> None:
        for _, child in children:
            child.kill()

    with tempfile.TemporaryDirectory(prefix="bench-scale-") as folder:
        logs: dict[int, _Log] = {}
        # Ctrl-C ends this process where it stands: nothing after that runs but what is noted here
        _interrupt.unfinished["bench.scale"] = end
        try:
            for one in settings:
                # MPI's launcher talks over files that it has opened to this process, whose child is the one to answer
                log = logs[one["index"]] = _Log(Path(folder), one["index"])
                out, err = log.files
                child = subprocess.Popen(
                    [*command, json.dumps(one)],
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=err,
                    env=_environment(one),
                    close_fds=bool(one["address"]),
                )
                children.append((one["index"], child))
            yield children, logs
        finally:
            end()
            for _, child in children:
                child.wait()
                child.stdin.close()
            for log in logs.values():
                for file in log.files:
                    file.close()
            _interrupt.unfinished.pop("bench.scale", None)


def _environment(one: dict[str, Any]) -> dict[str, str]:
    """Return the environment of a process: the checkout is found from any folder."""
    root = str(Path(__file__).parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    more = {"JAX_PLATFORMS": "cpu"} if one["local"] else {}
    # XLA_FLAGS of a caller that ask for CPU devices would be in the way of those that this run asks for
    flags = " ".join(
        flag
        for flag in os.environ.get("XLA_FLAGS", "").split()
        if not flag.startswith("--xla_force_host_platform_device_count")
    )
    return {**os.environ, "PYTHONPATH": path, "XLA_FLAGS": flags, "PYTHONUNBUFFERED": "1", **more}
