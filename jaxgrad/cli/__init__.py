"""The command line: ``jaxgrad verify``, and room for the commands that follow it.

Each command is a module of its own, listed in ``_app.py``. A command returns its exit code: 0 where everything
agrees, 1 where something differs; whatever cannot run raises `jaxgrad.verify.CannotRun`, which ends in one line and 2.
"""

import sys

from jaxgrad import _interrupt

__all__ = ["main"]

AGREE, DIFFER, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


def main() -> None:
    """Run the command line on the arguments of the process, and exit: with 0, 1, 2, or 130 after Ctrl-C.

    Ctrl-C itself ends the process at once, wherever it is; here is only the KeyboardInterrupt that a model raises.
    """
    _interrupt.install()
    try:
        # typer and rich are an extra: the library itself works without them
        from jaxgrad.cli._app import call

        code = call(sys.argv[1:])
    except KeyboardInterrupt:
        code = INTERRUPTED
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in ("typer", "rich", "click"):
            raise
        sys.stderr.write(
            f"error: {package} is not installed, and the command line needs it: pip install 'jaxgrad[cli]'\n"
        )
        code = WRONG_USAGE
    if code == INTERRUPTED:
        sys.stderr.write("interrupted\n")
    _interrupt.end(code)
