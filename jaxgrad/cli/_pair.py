"""The commands about a user's own two models: check, audit, dump, diff."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from jaxgrad.cli import AGREE, DIFFER, WRONG_USAGE
from jaxgrad.cli._options import Dtypes, Format, Output, Spec, Tolerance, What, check_dtypes, check_tolerance
from jaxgrad.cli._output import attempt, check_format, write
from jaxgrad.verify import CannotRun

__all__ = ["audit", "check", "diff", "dump"]


def check(
    spec: Spec,
    what: What = None,
    dtype: Dtypes = "float64,float32",
    tolerance: Tolerance = None,
    format: Format = "text",  # noqa: A002
    output: Output = None,
) -> int:
    """Compare two models of your own: do they agree, and if not, where and why."""
    check_format(format, output)
    options = {"dtypes": check_dtypes(dtype), **check_tolerance(tolerance)}
    _check_quantities(what)
    bound = _load(spec)
    with _progress() as tell:
        report = attempt(lambda: bound.check(what, progress=tell, **options))
    write(_about(report, spec), format, output)
    return _code(report)


def _check_quantities(what: str | None) -> None:
    """Refuse a name that is no quantity before any model is loaded."""
    from jaxgrad.verify import quantity_names

    attempt(lambda: quantity_names(what))


def _code(report: Any) -> int:
    """Return the exit code of a check; where nothing differs, but something cannot be computed, it could not run."""
    if report.ok:
        return AGREE
    return DIFFER if report.differs else WRONG_USAGE


def _about(report: Any, spec: Path) -> Any:
    """Return a report that names the file it is about."""
    return dataclasses.replace(report, meta={**report.meta, "spec": str(spec)})


def audit(spec: Spec, format: Format = "text", output: Output = None) -> int:  # noqa: A002
    """Compare the mapping of weights and the settings of layers."""
    check_format(format, output)
    report = attempt(_load(spec).audit)
    write(_about(report, spec), format, output)
    return AGREE if report.ok else DIFFER


def dump(
    side: Annotated[str, typer.Argument(help="torch or jax.")],
    spec: Spec,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="The folder of the run.")],
    like: Annotated[
        Path | None,
        typer.Option("--like", metavar="RUN", help="For jax: the torch run whose weights and batch it takes."),
    ] = None,
    what: What = None,
    dtype: Dtypes = "float64,float32",
) -> int:
    """Write one side's numbers to a folder, to be compared elsewhere; the other framework need not be installed."""
    dtypes = check_dtypes(dtype)
    if output.exists() and not output.is_dir():
        message = f"{output} is a file; name a folder"
        raise CannotRun(message)
    from rich.console import Console

    from jaxgrad import verify

    count = attempt(lambda: verify.dump(side, spec, output, like=like, what=what, dtypes=dtypes))  # type: ignore[arg-type]
    # not wrapped: a path in two lines cannot be copied
    Console(stderr=True, soft_wrap=True).print(f"{count} groups written to {output}", highlight=False, markup=False)
    return AGREE


def diff(
    run_a: Annotated[Path, typer.Argument(help="A run.")],
    run_b: Annotated[Path, typer.Argument(help="The run that it is compared with; the reference.")],
    tolerance: Tolerance = None,
    format: Format = "text",  # noqa: A002
    output: Output = None,
) -> int:
    """Compare two dumped runs; torch is not needed."""
    check_format(format, output)
    from jaxgrad import verify

    report = attempt(lambda: verify.diff(run_a, run_b, **check_tolerance(tolerance)))
    write(report, format, output)
    return _code(report)


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """Show how far a check is on standard error: a bar on a terminal, a line for every stage elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda line, part: console.print(f"{part:4.0%} {line}", highlight=False, markup=False, soft_wrap=True)
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda line, part: bar.update(task, description=line, completed=part)


def _load(spec: Path) -> Any:
    """Return the pair of a spec."""
    from jaxgrad import verify

    return attempt(lambda: verify.load_pair(spec))
