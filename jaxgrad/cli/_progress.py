"""What a run shows while it goes on, on standard error: a bar on a terminal, a line for every row elsewhere."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from jaxgrad.verify import Case, Row

__all__ = ["follow"]

RunCase = Callable[[Case], Iterator[Row]]


def follow(cases: Sequence[Case], run_case: RunCase, console: Console) -> list[Row]:
    """Run the cases, show how far they are, and return their rows.

    What a case prints itself goes to the console too, so that standard output holds the report alone.
    """
    with redirect_stdout(console.file):
        return _with_bar(cases, run_case, console) if console.is_terminal else _with_lines(cases, run_case, console)


def _with_lines(cases: Sequence[Case], run_case: RunCase, console: Console) -> list[Row]:
    """Print a line for every row, as soon as it is known."""
    rows = []
    for case in cases:
        for row in run_case(case):
            rows.append(row)
            line = f"{row.case} {row.quantity}: {row.verdict}{'' if row.agrees else f' ({row.reason})'}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    return rows


def _with_bar(cases: Sequence[Case], run_case: RunCase, console: Console) -> list[Row]:
    """Show a bar with the case at work, and keep the rows that differ above it."""
    rows = []
    columns = (
        SpinnerColumn(),
        BarColumn(20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(cases))
        for case in cases:
            progress.update(task, description=escape(f"{case.id} {case.title}"))
            for row in run_case(case):
                rows.append(row)
                if not row.agrees:
                    progress.console.print(f"{row.case} {row.quantity}: differ", markup=False, highlight=False)
            progress.advance(task)
    return rows
