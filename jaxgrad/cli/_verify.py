"""``jaxgrad verify``: the built-in cases in both frameworks."""

import datetime
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from jaxgrad import verify as library
from jaxgrad.cli import AGREE, DIFFER
from jaxgrad.cli._options import Format, Output
from jaxgrad.cli._output import attempt, check_format, check_writable, standard_output, write
from jaxgrad.verify import CannotRun

__all__ = ["verify"]


def verify(
    case: Annotated[
        list[str] | None,
        typer.Option(metavar="IDS", help="Cases to run: ids or patterns, such as S1,N*; all by default."),
    ] = None,
    format: Format = "text",  # noqa: A002
    device: Annotated[
        str | None, typer.Option(metavar="cpu|gpu|tpu", help="Where JAX computes; torch stays on the CPU.")
    ] = None,
    plant: Annotated[
        str | None,
        typer.Option(
            metavar="CASE[:LEAF]",
            help="Self-test of the judge: move one leaf of our result by one part in a million; the run must exit 1.",
        ),
    ] = None,
    output: Output = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Save the pictures that cases draw there.")
    ] = None,
    readme_file: Annotated[
        Path | None,
        typer.Option(
            "--readme", metavar="FILE", help="Rewrite the table of cases between the markers in this document."
        ),
    ] = None,
    list_cases: Annotated[bool, typer.Option("--list", help="List the cases, and run nothing.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the traceback of every error in a case.")] = False,
) -> int:
    """Compare every built-in case with PyTorch, in float64 and float32.

    Exit codes: 0 when everything agrees, 1 when something differs, 2 when the command cannot run, 130 after Ctrl-C.
    """
    patterns = ",".join(case) if case is not None else None
    if list_cases:
        titles = library.case_titles(patterns)
        with standard_output():
            sys.stdout.write("".join(f"{name:<4}{title}\n" for name, title in titles.items()))
        return AGREE
    check_format(format, output)
    if readme_file is not None:
        _refuse_document(readme_file, whole=case is None and plant is None)
    error = library.Plant.parse(plant) if plant is not None else None
    report = _run(library.select(patterns), device, error, figures, verbose=verbose)
    write(report, format, output)
    if readme_file is not None:
        attempt(lambda: library.insert_cases(readme_file, report.rows))
    return DIFFER if report.differing else AGREE


def _refuse_document(document: Path, *, whole: bool) -> None:
    """Refuse to write a table of some cases, and a document without its markers.

    Raises:
        CannotRun: With the reason.
    """
    if not whole:
        message = "--readme writes the table of every case: leave out --case and --plant"
        raise CannotRun(message)
    library.insert_cases(document, None)
    check_writable(document)


def _run(cases: Any, device: str | None, plant: Any, figures: Path | None, *, verbose: bool) -> Any:
    """Run the cases under a display of their progress."""
    import jax
    from rich.console import Console

    from jaxgrad.cli._progress import follow

    start = time.perf_counter()
    with library.case_runner(cases, device=device, plant=plant, figures=figures) as run_case:
        rows = follow(cases, run_case, Console(stderr=True))
    date = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    seconds = time.perf_counter() - start
    return library.CaseReport(tuple(rows), seconds, device or jax.default_backend(), date, verbose)
