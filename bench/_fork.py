"""A function called in a process of its own, forked from one that has imported everything and computed nothing."""

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

__all__ = ["Aside", "Forks"]


class Aside:
    """Calls functions as `Forks` does, from a server of its own that spins and is set as this process is.

    That of this process may be set otherwise, and it has one.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self.pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))

    def __enter__(self) -> "Aside":
        """Return this."""
        return self

    def __exit__(self, *_: object) -> None:
        """End its processes."""
        self.pool.shutdown()

    def call(self, function: Callable[[Any], Any], argument: Any, patience: float) -> Any:
        """Return what `Forks.call` does; ``None`` too where the server has died."""
        try:
            return self.pool.submit(_forked, function, argument, patience).result()
        except Exception:  # of a pool whose process the kernel has stopped, and of any that its process raises
            return None


def _forked(function: Callable[[Any], Any], argument: Any, patience: float) -> Any:
    """Call a function in a fork of this process's own server."""
    return Forks().call(function, argument, patience)


class Forks:
    """Calls functions, each in a process that is forked for it: what the imports take is paid once.

    A process has one such server, whose surroundings are those of the first that calls.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Start nothing yet; the processes will have these variables beside those of this one."""
        self.environment = dict(environment or {})
        self.lock = threading.Lock()
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
        with self.lock, _variables(self.environment):
            multiprocessing.forkserver.ensure_running()
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
def _variables(environment: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment, for what is started meanwhile."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _pipe(context: Any) -> Iterator[tuple[Any, Any]]:
    """Give the two ends of a pipe, and close this one."""
    here, there = context.Pipe(duplex=False)
    try:
        yield here, there
    finally:
        here.close()
