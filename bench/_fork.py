"""A function called in a process of its own, forked from one that has imported everything and computed nothing."""

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Forks"]


class Forks:
    """Calls functions, each in a process that is forked for it: what the imports take is paid once."""

    def __init__(self) -> None:
        """Start nothing yet."""
        there = "forkserver" in multiprocessing.get_all_start_methods()  # all but Windows
        self.context = multiprocessing.get_context("forkserver") if there else None
        if self.context is not None:
            self.context.set_forkserver_preload(["bench._preload"])

    def call(self, function: Callable[[Any], Any], argument: Any, patience: float) -> Any:
        """Return what a function of a module returns; ``None`` where it raises, dies, or takes too long.

        Args:
            function: Is found by its name in the other process.
            argument: Plain data.
            patience: Seconds after which the process is stopped.
        """
        if self.context is None:
            return None
        with _pipe(self.context) as (here, there):
            process = self.context.Process(target=_child, args=(there, function, argument), daemon=True)
            process.start()
            there.close()
            try:
                return here.recv() if here.poll(patience) else None
            except EOFError:  # it failed, or the kernel stopped it
                return None
            finally:
                process.kill()
                process.join()


def _child(pipe: Any, function: Callable[[Any], Any], argument: Any) -> None:
    """Send what the function returns, or nothing where it fails."""
    with contextlib.suppress(Exception):
        pipe.send(function(argument))
    pipe.close()


@contextlib.contextmanager
def _pipe(context: Any) -> Iterator[tuple[Any, Any]]:
    """Give the two ends of a pipe, and close this one."""
    here, there = context.Pipe(duplex=False)
    try:
        yield here, there
    finally:
        here.close()
