"""Files written whole or not at all, also when the user interrupts."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxgrad import _interrupt

__all__ = ["make_folder", "told", "write_atomically", "write_together"]


def write_atomically(path: Path, write: Callable[[Any], None]) -> None:
    """Write a file beside its place and move it there when it is whole; on any failure the old one stays.

    Raises:
        OSError: As the system gave it, with the path and what was kept.
    """
    write_together({path: write})


def write_together(files: Mapping[Path, Callable[[Any], None]]) -> None:
    """Write files beside their places, and move all of them there when every one is whole.

    Raises:
        OSError: As the system gave it, with the path and what was kept.
    """
    staged: dict[Path, str] = {}
    try:
        for path, write in files.items():
            with told(path):
                if path.exists() and not path.is_file():
                    # a device or a pipe is written to, never replaced
                    with _interrupt.whole, path.open("wb") as file:
                        write(file)
                else:
                    descriptor, staged[path] = _stage(path)
                    _write_whole(descriptor, write)
                    # mkstemp keeps others out; a report is as open as any file of the user's
                    Path(staged[path]).chmod(0o666 & ~_umask())
        with _interrupt.whole:
            for path, name in staged.items():
                with told(path):
                    os.replace(name, path)
    finally:
        # held, so that an interrupt removes either all of what is left or nothing
        with _interrupt.whole:
            for name in staged.values():
                Path(name).unlink(missing_ok=True)
                _interrupt.unfinished.pop(name, None)


def _stage(path: Path) -> tuple[int, str]:
    """Make the file beside a path, to be removed should the command be interrupted."""
    with _interrupt.whole:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        _interrupt.unfinished[name] = os.unlink
    return descriptor, name


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; an interrupt removes those that are still empty."""
    missing = [str(one) for one in (folder, *folder.parents) if not one.exists()]
    with _interrupt.whole:
        folder.mkdir(parents=True, exist_ok=True)
        _interrupt.unfinished.update(dict.fromkeys(reversed(missing), os.rmdir))


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Say of which file the system refused what, and what became of the old one."""
    try:
        yield
    except OSError as error:
        kept = "the old file is unchanged" if path.is_file() else "nothing was written there"
        message = f"could not write {path}: {error.strerror or error}; {kept}"
        raise OSError(message) from error


def _write_whole(descriptor: int, write: Callable[[Any], None]) -> None:
    """Write a file down to the disk."""
    with os.fdopen(descriptor, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def _umask() -> int:
    """Return the permissions that the process withholds."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
