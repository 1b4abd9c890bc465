"""How the command line ends at Ctrl-C, at a polite kill and when its terminal closes: one line, and the usual status.

Python raises KeyboardInterrupt wherever the main thread happens to be, and whoever is there may swallow it: a callback
of the garbage collector, ``except BaseException``, the destructor of an object; code in C holds it back. So the command
raises nothing. A thread waits for the signal, which Python's handler in C passes on at once, and ends the process.

`jaxgrad` imports this before anything else, so that an interrupt of the imports, which take seconds, ends alike; that
is why it imports next to nothing itself. In a process that is not the command's, nothing is installed. What comes
before this is Python's own (its start, ``site``), and a signal that was ignored from the start, as under ``nohup``,
stays ignored.
"""

from __future__ import annotations

import _thread
import os
import select
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any, NoReturn

__all__ = ["end", "install", "unfinished", "whole"]

WORDS: dict[int, str] = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "the terminal was closed",
}
GRACE = 5.0
"""Seconds that a signal waits for what is done whole and for standard error, should nobody read any more."""

OURS = ("jaxgrad", "jaxgrad.cli")
"""What ``python -m`` calls the command."""

whole = _thread.allocate_lock()
"""Held around what a signal must not cut in two: the making and the moving of files, a report to standard output."""

unfinished: dict[str, Callable[[str], None]] = {}
"""What is half-written, in the order in which it was made, and what removes it."""

_before: dict[int, Any] = {}
_pipe: list[int] = []
_mask: list[set[Any]] = []


def _is_command() -> bool:
    """Whether this process is the command: the script ``jaxgrad``, or ``python -m`` and one of `OURS`."""
    arguments: list[str] = getattr(sys, "argv", None) or [""]
    if arguments[0] != "-m":
        # a worker that it spawns has its arguments, but is started by others
        return os.path.basename(arguments[0]) == "jaxgrad" and arguments[0] in sys.orig_argv
    # until ``-m`` has found its module, the module's name stands in the original arguments alone
    name = sys.orig_argv[-len(arguments)]
    return name in OURS or (name.startswith("-") and name.endswith(tuple(f"m{ours}" for ours in OURS)))


def install() -> None:
    """Take the signals over, unless that is done or this is not the main thread; an ignored one stays ignored."""
    if _before:
        return
    if not _pipe:
        _pipe.extend(os.pipe())
        os.set_blocking(_pipe[1], False)
        _thread.start_new_thread(_watch, ())
        os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_forked)
    try:
        signal.set_wakeup_fd(_pipe[1], warn_on_full_buffer=False)
    except ValueError:
        # only the main thread may
        return
    for number in WORDS:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            _before[number] = signal.signal(number, _pass_on)


def _hold() -> None:
    """Hold the signals back while the process forks."""
    _mask.append(signal.pthread_sigmask(signal.SIG_BLOCK, WORDS))


def _let_go() -> None:
    """Let the signals through that were held back."""
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.pop())


def _forked() -> None:
    """Let a child die without a word: no thread waits for signals there, and the pipe would wake its parent's."""
    if _before:
        signal.set_wakeup_fd(-1)
    for number in _before:
        signal.signal(number, signal.SIG_DFL)
    _before.clear()
    _let_go()


def _restore() -> None:
    """Give the signals back to whoever had them."""
    if _before:
        signal.set_wakeup_fd(-1)
    while _before:
        signal.signal(*_before.popitem())


def _pass_on(number: int, _: FrameType | None) -> None:
    """Wake the thread, should a library have turned away what Python's own handler writes."""
    os.write(_pipe[1], bytes([number]))


def _watch() -> None:
    """Wait for a signal, and end the process."""
    while True:
        for number in os.read(_pipe[0], 1):
            if number in WORDS:
                _leave(number)


def _leave(number: int) -> None:
    """Remove what is half-written, say one line, and exit with 128 and the number of the signal."""
    try:
        whole.acquire(timeout=GRACE)
        error = _silence()
        # a copy: should the writer have held `whole` for longer than GRACE, it may still be at work on these
        for name, remove in reversed(list(unfinished.items())):
            _try(remove, name)
        _try(_stop_children)
        _say(error, WORDS[number])
    finally:
        os._exit(128 + number)


def _silence() -> int:
    """Return standard error for the one line; from here on no other thread can write, before the line or after it."""
    error, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    return error


def _try(action: Callable[..., object], *arguments: object) -> None:
    """Do what can be done; nothing may keep the process from ending."""
    # not contextlib's suppress: it may be what the main thread is importing
    try:  # noqa: SIM105
        action(*arguments)
    except Exception:
        pass


def _stop_children() -> None:
    """Stop the workers of a user's loader, which a plain exit of Python would have stopped."""
    if "multiprocessing" in sys.modules:
        for child in sys.modules["multiprocessing"].active_children():
            child.terminate()


def _say(error: int, words: str) -> None:
    """Write the line; on a terminal in place of a bar of progress, which hid the cursor."""
    drawn = os.isatty(error) and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
    erase = "\r\x1b[2K\x1b[?25h" if drawn else ""
    if select.select([], [error], [], GRACE)[1]:
        os.write(error, f"{erase}{words}\n".encode())


def end(code: int) -> NoReturn:
    """End the command with a status; what Python does at an exit is done here, where a signal still ends it alike.

    Raises:
        SystemExit: Where the process is not the command's, and goes on to its own end.
    """
    if not COMMAND:
        _restore()
        raise SystemExit(code)
    import atexit
    import threading

    # what Python itself calls at an exit, and what runs the code of others
    for action in (threading._shutdown, atexit._run_exitfuncs, sys.stdout.flush, sys.stderr.flush):  # type: ignore[attr-defined]
        _try(action)
    whole.acquire()
    os._exit(code)


COMMAND = _is_command()
if COMMAND:
    install()
