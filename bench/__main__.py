"""``python -m bench [FAMILY ...]``: time every row against its rivals; and what is done with the results."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from bench._command import leave, make_results_folder, watch_interrupts

progress = Console(stderr=True)


class RunByDefault(TyperGroup):
    """A group whose first command needs no name: what is no command is a family, or an option of `run`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the default command before arguments that have none."""
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(add_completion=False, cls=RunByDefault)

Families = Annotated[list[str] | None, typer.Argument(help="Families; all of them where none is named.")]
Text = Annotated[str | None, typer.Option("--row", help="Only the rows whose name or sizes contain this text.")]


@app.command("run")
def run_command(
    families: Families = None,
    quick: Annotated[
        bool, typer.Option("--quick/--full", help="Small sizes and few rounds: under three minutes in all.")
    ] = False,
    row: Text = None,
    device: Annotated[
        str | None, typer.Option(metavar="cpu|gpu|tpu", help="Where to compute.", show_default="JAX's own choice")
    ] = None,
    dtype: Annotated[
        str, typer.Option(metavar="float32|float64|bfloat16", help="What floating-point arrays are.")
    ] = "float32",
    rivals: Annotated[
        bool | None,
        typer.Option(
            help="Try torch.compile too, and name the libraries that are missing.", show_default="with --full"
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(min=3, help="Interleaved rounds for each row.", show_default="till the ratios are known"),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor cores to use; all where not given.")] = None,
    memory: Annotated[
        bool | None, typer.Option(help="Measure peak memory in fresh processes.", show_default="with --full")
    ] = None,
    scaling: Annotated[
        bool | None, typer.Option(help="Measure the curves.", show_default="where no row is named")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write results.json and report.html there.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Say what would run, at which sizes, and stop.")] = False,
) -> None:
    """Time each row: contenders must agree, then run in interleaved rounds; ratios are paired, round by round."""
    watch_interrupts()
    from bench import _device, _rows
    from bench._run import Settings
    from bench._session import Session

    if dtype not in _device.DTYPES:
        leave("bench", f"--dtype takes {', '.join(_device.DTYPES)}; got {dtype!r}")
    chosen = _rows.chosen("bench", families or [], row, quick)
    device = _device.check_device("bench", device)
    full = not quick
    settings = Settings(
        quick,
        device,
        dtype,
        threads,
        rounds,
        rivals=full if rivals is None else rivals,
        memory=full if memory is None else memory,
    )
    if dry_run:
        for family, one in chosen:
            print(_rows.key_of(family, one, quick))
        return
    make_results_folder("bench", out)
    session = Session(settings, sorted({family for family, _ in chosen}), out, time.time())
    session.run(chosen, row is None if scaling is None else scaling)


@app.command("list")
def list_command(
    families: Families = None,
    quick: Annotated[bool, typer.Option("--quick/--full", help="The small sizes.")] = False,
    row: Text = None,
) -> None:
    """List the rows with their sizes."""
    from bench import _rows

    families = families or []
    _rows.check_families("bench list", families)
    found = _rows.chosen("bench list", families or list(_rows.FAMILIES), row, quick)
    for family, one in found:
        print(_rows.key_of(family, one, quick))


if __name__ == "__main__":
    app()
