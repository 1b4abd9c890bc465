"""The run's folder of `jaxgrad.fit`, for commands that leave with one line."""

from pathlib import Path
from typing import Any

from bench._command import leave
from jaxgrad.fit import _run
from jaxgrad.verify import CannotRun

__all__ = ["Run"]


class Run(_run.Run):
    """The folder of one training run; without a folder nothing is kept. What it refuses ends the command."""

    def __init__(self, command: str, folder: Path | None, settings: dict[str, Any]) -> None:
        """Open the folder, and leave where it holds a run of other settings."""
        try:
            super().__init__(command, folder, settings)
        except CannotRun as error:
            leave(command, str(error))
