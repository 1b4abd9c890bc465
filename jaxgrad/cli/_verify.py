"""``jaxgrad verify``: the built-in cases in both frameworks."""

import time
from pathlib import Path
from typing import Annotated, Any

import jax
import typer
from rich.console import Console

from jaxgrad.cli import AGREE, DIFFER
from jaxgrad.cli._formats import FORMATS, check_writable, put, replace, write
from jaxgrad.cli._progress import follow
from jaxgrad.cli._report import Report
from jaxgrad.verify import CannotRun, Plant, Row, select
from jaxgrad.verify.cases import _readme
from jaxgrad.verify.cases._case import Case
from jaxgrad.verify.cases._run import prepare, run_case
from jaxgrad.verify.cases._side_by_side import Workers, is_worthwhile

__all__ = ["verify"]


def verify(
    case: Annotated[
        list[str] | None,
        typer.Option(metavar="IDS", help="Cases to run: ids or patterns, such as S1,N*; all by default."),
    ] = None,
    format: Annotated[str, typer.Option(metavar="|".join(FORMATS), help="How to write the report.")] = "text",  # noqa: A002
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
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report there, not to stdout.")] = None,
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
    chosen = select(",".join(case) if case is not None else None)
    if list_cases:
        put("".join(f"{entry.id:<4}{entry.title}\n" for entry in chosen))
        return AGREE
    _refuse(format, output, readme_file, whole=case is None and plant is None)
    report = _run(chosen, device, Plant.parse(plant) if plant is not None else None, figures)
    write(report, format, output, verbose=verbose)
    if readme_file is not None:
        replace(readme_file, _readme.insert(readme_file.read_text("utf-8"), _readme.table(report.rows)))
    return DIFFER if report.differing else AGREE


def _refuse(format: str, output: Path | None, document: Path | None, *, whole: bool) -> None:  # noqa: A002
    """Refuse what would only show at the end of a long run.

    Raises:
        CannotRun: With the option and what it takes.
    """
    if format not in FORMATS:
        message = f"--format must be text, json or junit; got {format!r}"
        raise CannotRun(message)
    if output is not None:
        check_writable(output)
    if document is not None:
        _refuse_document(document, whole=whole)


def _refuse_document(document: Path, *, whole: bool) -> None:
    """Refuse to write a table of some cases, and a document without its markers.

    Raises:
        CannotRun: With the reason.
    """
    if not whole:
        message = "--readme writes the table of every case: leave out --case and --plant"
        raise CannotRun(message)
    if not document.is_file():
        message = f"--readme: there is no file {document}"
        raise CannotRun(message)
    check_writable(document)
    _readme.insert(document.read_text("utf-8"), "")


def _run(cases: list[Case], device: str | None, plant: Plant | None, figures: Path | None) -> Report:
    """Run the cases under a display of their progress."""
    place = prepare(cases, device, plant, figures)
    start = time.perf_counter()
    rows = _rows(cases, {"device": place, "plant": plant, "figures": figures}, Console(stderr=True))
    platform = place.platform if place is not None else jax.default_backend()
    return Report(tuple(rows), time.perf_counter() - start, platform)


def _rows(cases: list[Case], options: dict[str, Any], console: Console) -> list[Row]:
    """Run the cases here, or here and in a second process."""
    if not is_worthwhile(cases, options["device"]):
        return follow(cases, lambda one: run_case(one, **options), console)
    with Workers(cases, **options) as workers:
        return follow(cases, workers.run_case, console)
