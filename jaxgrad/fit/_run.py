"""Training that goes on where a killed run stopped: its state by orbax, and the settings that it belongs to."""

import contextlib
import gc
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxgrad import _interrupt
from jaxgrad.fit._loggers import quiet
from jaxgrad.verify import CannotRun, _files

__all__ = ["Run", "differences", "read_settings"]

SETTINGS, STEPS = "run.json", "steps"
"""What a run's folder holds: its settings, and a folder for each of the last checkpoints."""

OWNER = "run"
"""What the settings of its run are called in the metadata of a checkpoint."""

NOISY = ("absl", "asyncio")
"""Loggers of what orbax runs in its threads."""

MARGIN = 2**18
"""Bytes that a checkpoint takes beside its numbers, for names, shapes and layout."""


class Unreadable(CannotRun):
    """A checkpoint is damaged, or holds the state of something else."""


class Run:
    """The folder of one training run; without a folder nothing is kept."""

    def __init__(
        self, command: str, folder: Path | None, settings: dict[str, Any], *, option: str = "--folder"
    ) -> None:
        """Open the folder.

        Args:
            command: Whose run it is.
            folder: Made where it is missing.
            settings: Plain data that JSON gives back unchanged; all that decides the numbers of the run.
            option: What the command calls the folder.

        Raises:
            CannotRun: If it holds a run of other settings or other files, or cannot be written.
        """
        self._manager: Any = None
        self._folder = folder
        self._made: list[Path] = []
        self._given = ""
        if folder is None:
            return
        if folder.exists() and not folder.is_dir():
            message = f"{option} {folder} is a file; name a folder"
            raise CannotRun(message)
        about, given = folder / SETTINGS, json.dumps({"command": command, **settings}, indent=1, sort_keys=True)
        if about.exists() and about.read_text() != given:
            message = f"{folder} holds a checkpoint of another run: {_changes(about.read_text(), given)}"
            raise CannotRun(message)
        if not about.exists() and folder.exists() and any(folder.iterdir()):
            message = f"{folder} is not empty, and holds no run of this command; name a new folder"
            raise CannotRun(message)
        self._given = given
        self._start(folder, about, given)

    def _start(self, folder: Path, about: Path, given: str) -> None:
        """Make the folder, and note whose it is.

        Raises:
            CannotRun: If the system refuses.
        """
        self._made = [one for one in (folder, *folder.parents) if not one.exists()]
        with self._told("make the run's folder"):
            _files.make_folder(folder)
            if not os.access(folder, os.W_OK):
                message = "it is not writable"
                raise OSError(message)
            if not about.exists():
                _files.write_atomically(about, lambda file: file.write(given.encode()))
            # one second to import, and only for those who keep their runs
            import orbax.checkpoint as ocp

            # orbax makes no folder for one process among several
            _files.make_folder(folder / STEPS)
            options = ocp.CheckpointManagerOptions(
                max_to_keep=2,
                create=False,
                enable_async_checkpointing=False,
                multiprocessing_options=_of_this_process(ocp),
            )
            self._manager = ocp.CheckpointManager((folder / STEPS).absolute(), options=options)

    def last(self) -> int:
        """Return the number of the last block that was kept; 0 at the start."""
        return 0 if self._manager is None else self._manager.latest_step() or 0

    def at(self, step: int, like: Any) -> Any:
        """Return the state after a block; ``like`` has its structure, shapes and dtypes.

        Raises:
            Unreadable: If what was kept cannot be read, or is the state of something else.
            CannotRun: If it is of another run.
        """
        import orbax.checkpoint as ocp

        is_another = False
        try:
            # one that was brought here from another run may have the same shapes
            with quiet(*NOISY):
                kept = self._manager.metadata(step).custom_metadata.get(OWNER, self._given)
            if kept == self._given:
                return self._manager.restore(step, args=ocp.args.StandardRestore(like))
            words, is_another = _changes(kept, self._given), True
        except Exception as error:
            # orbax and its readers have many errors, of many lines and with advice on their own options
            words = _first(error).split(". ")[0]
        # what else it was reading failed too, of which asyncio would write pages when it is collected
        with quiet(*NOISY):
            gc.collect()
        message = f"the checkpoint {step} in {self._folder} cannot be read as one of this run: {words}"
        if is_another:
            raise CannotRun(message)
        before = max((one for one in self._manager.all_steps() if one < step), default=0)
        torn = f"without {self._manager.directory / str(step)} the run goes on from {before}"
        message += f"; {torn if before else 'start anew in another folder'}"
        raise Unreadable(message)

    def newest(self, like: Any) -> tuple[int, Any, list[int]]:
        """Return the last state that can be read.

        Those after it, which a disk has damaged, are removed: they would be in the way of the same states, to which the
        steps from there lead again.

        Args:
            like: What `at` takes.

        Returns:
            The number of its block, the state, and the numbers of those that could not be read; 0 and ``like`` at the
            start.

        Raises:
            CannotRun: If none can be read, or one is of another run.
        """
        torn: list[int] = []
        steps = sorted(self._manager.all_steps() if self._manager else (), reverse=True)
        for step in steps:
            try:
                state = self.at(step, like)
            except Unreadable:
                if step == steps[-1]:
                    raise
                torn.append(step)
                continue
            for one in torn:
                with self._told(f"remove the checkpoint {one}"):
                    self._manager.delete(one)
            return step, state, torn
        return 0, like, torn

    def keep(self, step: int, state: Any) -> None:
        """Keep the state after a block: it is there as a whole once this returns, or not at all.

        Raises:
            CannotRun: If the disk refuses; earlier checkpoints stay.
        """
        if self._manager is None:
            return
        import orbax.checkpoint as ocp

        # held, so that Ctrl-C waits for the end of what takes some tenths of a second
        with self._told(f"keep the state after step {step}"), _interrupt.whole, quiet(*NOISY):
            self._try_room(state)
            self._manager.save(step, args=ocp.args.StandardSave(state), custom_metadata={OWNER: self._given})
            self._manager.wait_until_finished()

    def _try_room(self, state: Any) -> None:
        """Write as much as a state takes, and remove it: a full disk is told here in one word.

        Orbax writes from many threads, each of which would print pages of its own.

        Raises:
            OSError: As the system gave it.
        """
        import jax

        assert self._folder is not None
        size = MARGIN + sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        with tempfile.TemporaryFile(dir=self._folder) as file:
            file.write(bytes(size))
            file.flush()
            os.fsync(file.fileno())

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Tell in one line what the disk refused, and leave nothing that is half-written.

        Raises:
            CannotRun: In place of any error.
        """
        try:
            yield
        except Exception as error:
            last = self.clean()
            kept = f"the checkpoint of step {last} is kept" if last else "nothing is left there"
            message = f"could not {what} in {self._folder}: {_first(error)}; {kept}"
            raise CannotRun(message) from error

    def clean(self) -> int:
        """Remove what is no whole checkpoint, all where there is none; return the last whole one's number."""
        if self._folder is None:
            return 0
        steps = self._folder / STEPS
        kept = [int(path.name) for path in steps.iterdir() if path.name.isdecimal()] if steps.is_dir() else []
        for path in steps.iterdir() if steps.is_dir() else ():
            if not path.name.isdecimal():
                shutil.rmtree(path, ignore_errors=True)
        if not kept:
            shutil.rmtree(steps, ignore_errors=True)
            with contextlib.suppress(OSError):
                (self._folder / SETTINGS).unlink(missing_ok=True)
        for folder in self._made if not kept else ():
            with contextlib.suppress(OSError):
                folder.rmdir()
        return max(kept, default=0)


def _of_this_process(ocp: Any) -> Any:
    """Say to orbax that this process alone keeps the run: else it waits for all that have joined in JAX."""
    import jax

    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    own = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"process{own}"
    )


def read_settings(folder: Path, command: str) -> dict[str, Any]:
    """Return the settings of the run in a folder.

    Raises:
        CannotRun: If there is none of this command.
    """
    about = folder / SETTINGS
    if not folder.is_dir():
        message = f"there is no folder {folder}" if not folder.exists() else f"{folder} is a file; name a run's folder"
        raise CannotRun(message)
    if not about.is_file():
        message = f"{folder} holds no run: there is no {SETTINGS} in it"
        raise CannotRun(message)
    try:
        found = json.loads(about.read_text())
    except (ValueError, OSError) as error:
        message = f"{about} cannot be read: {_first(error)}"
        raise CannotRun(message) from error
    if not isinstance(found, dict) or found.pop("command", None) != command:
        message = f"{folder} holds a run of another command than {command}"
        raise CannotRun(message)
    return found


def _first(error: BaseException) -> str:
    """Return the system's own words for what it refused, or the first line of another error."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
        found = found.__cause__ or found.__context__
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__


def _changes(kept: str, given: str) -> str:
    """Say which settings differ between two files of them."""
    try:
        old, new = json.loads(kept), json.loads(given)
    except ValueError:
        return f"its {SETTINGS} cannot be read"
    return differences(dict(sorted(old.items())), dict(sorted(new.items())))


def differences(there: dict[str, Any], here: dict[str, Any]) -> str:
    """Say which settings differ, in their order; nothing where none does."""
    names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    return ", ".join(f"{name} {there.get(name)} there, {here.get(name)} here" for name in names)
