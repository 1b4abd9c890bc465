"""The commands about a user's own two models: check, audit, dump, diff; and kinks, doctor."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from jaxgrad.cli import AGREE, DIFFER, WRONG_USAGE
from jaxgrad.cli._formats import check_writable, put, replace, standard_output
from jaxgrad.verify import CannotRun, doctor, kinks
from jaxgrad.verify._errors import first_line
from jaxgrad.verify.port.dumps._files import DumpError, read_run, write_run

__all__ = ["register"]

R = TypeVar("R")
FORMATS = ("text", "json", "junit", "html")
PLAIN = ("text", "json")
Spec = Annotated[
    Path, typer.Argument(help="A Python file that defines spec = dict(torch=..., jax=..., loss=..., batch=...).")
]
What = Annotated[str | None, typer.Option(help="Quantities, such as value,gradient,hvp,step; or all.")]
Format = Annotated[str, typer.Option(metavar="|".join(FORMATS), help="How to write the report.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the report there.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for name, command in (("check", check), ("audit", audit), ("dump", dump), ("diff", diff), ("kinks", show_kinks),
                          ("doctor", show_doctor)):  # fmt: skip
        app.command(name)(command)


def check(
    spec: Spec,
    what: What = None,
    dtype: Annotated[str, typer.Option(help="Precisions, float64 first.")] = "float64,float32",
    format: Format = "text",  # noqa: A002
    output: Output = None,
) -> int:
    """Compare two models of your own: do they agree, and if not, where and why."""
    _prepare(format, output)
    dtypes = _check_dtypes(dtype)
    bound = _load(spec)
    with _progress() as tell:
        report = _run(lambda: bound.check(what, dtypes=dtypes, progress=tell))
    _write(report, format, output)
    return _code(report)


def _code(report: Any) -> int:
    """Return the exit code of a check; where nothing differs, but something cannot be computed, it could not run."""
    if report.ok:
        return AGREE
    return DIFFER if report.differs else WRONG_USAGE


def audit(spec: Spec, format: Format = "text", output: Output = None) -> int:  # noqa: A002
    """Compare the mapping of weights and the settings of layers."""
    _prepare(format, output, PLAIN)
    report = _run(_load(spec).audit)
    _write(report, format, output)
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
    dtype: Annotated[str, typer.Option(help="Precisions.")] = "float64,float32",
) -> int:
    """Write one side's numbers to a folder, to be compared elsewhere; the other framework need not be installed."""
    if side not in ("torch", "jax"):
        message = f"dump takes torch or jax; got {side}"
        raise CannotRun(message)
    if (side == "jax") != (like is not None):
        message = (
            "dump jax needs torch's run: dump torch first, then `jaxgrad dump jax SPEC --like RUN -o FOLDER`"
            if like is None
            else "--like belongs to dump jax: torch's run is the one that the other is like"
        )
        raise CannotRun(message)
    if output.exists() and not output.is_dir():
        message = f"{output} is a file; name a folder"
        raise CannotRun(message)
    from jaxgrad.verify.port._spec_file import parts
    from jaxgrad.verify.port.dumps import _dump

    names, dtypes = _run(lambda: _dump.dumped_names(what)), _check_dtypes(dtype)
    if like is None:
        groups, about = _run(lambda: _dump.dump_torch(parts(spec, "torch", "loss", "batch"), names, dtypes))
    else:
        run = _run(lambda: read_run(like))
        groups, about = _run(lambda: _dump.dump_jax(parts(spec, "jax", "loss"), run, names, dtypes))
    _run(lambda: write_run(output, groups, about))
    # not wrapped: a path in two lines cannot be copied
    Console(stderr=True, soft_wrap=True).print(f"{len(groups)} groups written to {output}", highlight=False)
    return AGREE


def diff(
    run_a: Annotated[Path, typer.Argument(help="A run.")],
    run_b: Annotated[Path, typer.Argument(help="The run that it is compared with; the reference.")],
    format: Format = "text",  # noqa: A002
    output: Output = None,
) -> int:
    """Compare two dumped runs; torch is not needed."""
    _prepare(format, output)
    from jaxgrad.verify.port.dumps._dump import compare_runs

    report = _run(lambda: compare_runs(*_torch_last(read_run(run_a), read_run(run_b))))
    _write(report, format, output)
    return _code(report)


def _torch_last(a: Any, b: Any) -> tuple[Any, Any]:
    """Return two runs with torch's as the reference."""
    return (b, a) if a[1].get("side") == "torch" and b[1].get("side") != "torch" else (a, b)


def show_kinks(format: Annotated[str, typer.Option(metavar="text|json")] = "text") -> int:  # noqa: A002
    """Probe the installed versions for their derivatives at kinks."""
    _prepare(format, None, PLAIN)
    rows = _run(kinks)
    if format == "json":
        plain = [{k: str(v) if v != v else v for k, v in vars(row).items()} for row in rows]
        put(json.dumps(plain, indent=1).replace("Infinity", '"inf"') + "\n")
        return AGREE
    table = Table("function", "at", "first: torch", "JAX", "second: torch", "JAX", "same")
    for row in rows:
        numbers = (row.torch_first, row.jax_first, row.torch_second, row.jax_second)
        words = [n if isinstance(n, str) else f"{n:.6g}" for n in numbers]
        table.add_row(row.function, f"{row.point:g}", *words, "yes" if row.same_first and row.same_second else "NO")
    with standard_output():
        Console().print(table)
    return AGREE


def show_doctor(format: Annotated[str, typer.Option(metavar="text|json")] = "text") -> int:  # noqa: A002
    """Show versions, precision flags and devices of both frameworks."""
    _prepare(format, None, PLAIN)
    report = doctor()
    if format == "json":
        put(json.dumps(report, indent=1) + "\n")
        return AGREE
    with standard_output():
        _tell(report, Console(highlight=False, soft_wrap=True))
    return AGREE


def _tell(report: dict[str, Any], console: Console) -> None:
    """Print what `doctor` found, a line each."""
    for part in ("versions", "jax", "torch"):
        console.print(f"[bold]{part}[/bold]")
        for name, value in (report[part] or {"": "not installed"}).items():
            missing = "not installed" if part == "versions" else "not set"
            console.print(f"  {name:<30} {value if value is not None else missing}", markup=False)
    for note in report["notes"]:
        console.print(f"note: {note}", markup=False)


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """Show how far a check is on standard error: a bar on a terminal, a line for every stage elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda line, part: console.print(f"{part:4.0%} {line}", highlight=False, markup=False, soft_wrap=True)
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda line, part: bar.update(task, description=line, completed=part)


def _prepare(format: str, output: Path | None, allowed: tuple[str, ...] = FORMATS) -> None:  # noqa: A002
    """Refuse a format or a place before the long run."""
    if format not in allowed:
        message = f"--format must be one of {', '.join(allowed)}; got {format}"
        raise CannotRun(message)
    if output is not None:
        check_writable(output)


def _check_dtypes(text: str) -> list[str]:
    """Return the precisions of an option, ``float64`` first, for it decides the definition.

    Raises:
        CannotRun: If one is unknown.
    """
    known = ("float64", "float32", "bfloat16", "float16")
    names = text.split(",")
    wrong = [name for name in names if name not in known]
    if wrong:
        message = f"--dtype takes {', '.join(known)}; got {', '.join(wrong)}"
        raise CannotRun(message)
    return ["float64", *(name for name in names if name != "float64")]


def _load(spec: Path) -> Any:
    """Return the pair of a spec."""
    from jaxgrad.verify.port._spec_file import load

    return _run(lambda: load(spec))


def _run(action: Callable[[], R]) -> R:
    """Run an action; whatever stops it becomes one line and exit code 2, for 1 says that two models differ."""
    try:
        return action()
    except (ValueError, OSError, ModuleNotFoundError, DumpError) as error:
        raise CannotRun(str(error)) from error
    except SystemExit as error:
        message = f"the models or the spec called sys.exit({error.code})"
        raise CannotRun(message) from error
    except Exception as error:
        raise CannotRun(first_line(error)) from error


def _write(report: Any, format: str, output: Path | None) -> None:  # noqa: A002
    """Write a report to a file that is replaced whole, or to standard output."""
    forms = {"text": "table", "json": "to_json", "junit": "to_junit", "html": "to_html"}
    text = getattr(report, forms[format])() + "\n"
    if output is None:
        put(text)
    else:
        replace(output, text)
