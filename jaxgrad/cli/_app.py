"""The application: its commands, and what every command does alike about errors and versions."""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from jaxgrad import __version__
from jaxgrad.cli import WRONG_USAGE
from jaxgrad.cli._blend import blend
from jaxgrad.cli._fit import fit
from jaxgrad.cli._installed import show_doctor, show_kinks
from jaxgrad.cli._pair import audit, check, diff, dump
from jaxgrad.cli._render import render
from jaxgrad.cli._verify import verify
from jaxgrad.verify import CannotRun

__all__ = ["app", "call"]

app = typer.Typer(
    name="jaxgrad",
    help="Derivatives beyond jax.grad, verified against PyTorch.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, command in (("verify", verify), ("check", check), ("audit", audit), ("dump", dump), ("diff", diff),
                      ("kinks", show_kinks), ("doctor", show_doctor), ("fit", fit), ("render", render),
                      ("blend", blend)):  # fmt: skip
    app.command(name)(command)


def _show_version(wanted: bool) -> None:
    """Print the versions of what a result depends on, and stop."""
    if wanted:
        typer.echo(f"jaxgrad {__version__} (jax {version('jax')})")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Derivatives beyond jax.grad, verified against PyTorch."""


def call(arguments: Sequence[str]) -> int:
    """Run one command, and return its exit code; what cannot run is told in one line."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # a name that the locale has no characters for is written out, and no error of ours
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(args=list(arguments), prog_name="jaxgrad", standalone_mode=False) or 0
        sys.stdout.flush()
    except CannotRun as error:
        message = str(error)
    except OSError as error:
        if error.filename is not None:
            raise
        # no file: this is standard output, whose buffer would fail once more at the end
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        message = f"could not write the report: {error.strerror}"
    except Exception as error:
        # the errors of the argument parser, whose class has moved between versions of typer
        if not hasattr(error, "format_message"):
            raise
        message = f"{error.format_message()} (jaxgrad --help shows the commands, jaxgrad COMMAND --help the options)"
    else:
        return code
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    return WRONG_USAGE
