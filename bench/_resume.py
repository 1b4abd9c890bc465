"""Training that goes on where a killed run stopped: its state by orbax, and the settings that it belongs to."""

import json
from pathlib import Path
from typing import Any

from bench._command import leave

__all__ = ["Run"]


class Run:
    """The folder of one training run; without a folder nothing is kept."""

    def __init__(self, command: str, folder: Path | None, settings: dict[str, Any]) -> None:
        """Open the folder, and leave where it holds a run of other settings."""
        self._manager: Any = None
        if folder is None:
            return
        if folder.exists() and not folder.is_dir():
            leave(command, f"--folder {folder} is a file; name a folder")
        about, given = folder / "run.json", json.dumps({"command": command, **settings}, indent=1, sort_keys=True)
        if about.exists() and about.read_text() != given:
            leave(command, f"{folder} holds a checkpoint of another run: {_differences(about.read_text(), given)}")
        if not about.exists() and folder.exists() and any(folder.iterdir()):
            leave(command, f"{folder} is not empty, and holds no run of this command; name a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        about.write_text(given)
        # one second to import, and only for those who keep their runs
        import orbax.checkpoint as ocp

        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager((folder / "steps").absolute(), options=options)

    def last(self) -> int:
        """Return the number of the last block that was kept; 0 at the start."""
        return 0 if self._manager is None else self._manager.latest_step() or 0

    def at(self, step: int, like: Any) -> Any:
        """Return the state after a block; ``like`` has its structure, shapes and dtypes."""
        import orbax.checkpoint as ocp

        return self._manager.restore(step, args=ocp.args.StandardRestore(like))

    def keep(self, step: int, state: Any) -> None:
        """Keep the state after a block: it is there as a whole once this returns, or not at all."""
        if self._manager is None:
            return
        import orbax.checkpoint as ocp

        self._manager.save(step, args=ocp.args.StandardSave(state))
        self._manager.wait_until_finished()


def _differences(kept: str, given: str) -> str:
    """Say which settings differ."""
    try:
        old, new = json.loads(kept), json.loads(given)
    except ValueError:
        return "its run.json cannot be read"
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return ", ".join(f"{name} {old.get(name)} there, {new.get(name)} here" for name in sorted(names))
