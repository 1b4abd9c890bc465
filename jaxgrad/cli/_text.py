"""The report as a table for people, at any width from 80 columns."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxgrad.cli._report import Report
from jaxgrad.verify import Row
from jaxgrad.verify.judge import _tolerances

__all__ = ["duration", "show"]

WIDE = 110
"""From this width on the worst leaf has a column of its own; below, it stands under the quantity."""

LEGEND = (
    f"f64: relative L2 error of the worst leaf in float64 (allowed {_tolerances.DEFINITION_F64:g}). f32: its error in"
    f" float32, in multiples of torch's own (allowed {_tolerances.NOISE_MULTIPLE:g}x, for a single number"
    f" {_tolerances.NOISE_MULTIPLE_OF_A_NUMBER:g}x). Times: our first call, compilation included, our second call,"
    " torch's call."
)


def show(report: Report, console: Console, *, verbose: bool = False) -> None:
    """Print the table, the reason of every row that differs, and the summary."""
    console.print(_table(report.rows, wide=console.width >= WIDE))
    console.print(Text(LEGEND, style="dim"))
    for row in report.differing:
        console.print(Text(f"\n{row.case}, {row.quantity}: {row.reason}", style="red"))
        if verbose and row.traceback:
            console.print(Text(row.traceback.rstrip(), style="dim"))
    console.print(Text(f"\n{report.summary}", style="bold red" if report.differing else "bold green"))
    console.print(Text(report.setting, style="dim"))


def _table(rows: tuple[Row, ...], *, wide: bool) -> Table:
    """Lay the rows out."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0) if not wide else (0, 1), expand=False)
    table.add_column("case", no_wrap=True)
    table.add_column("quantity", overflow="fold", min_width=24)
    if wide:
        table.add_column("worst leaf or figure", overflow="fold", min_width=16)
    table.add_column("f64", justify="right", no_wrap=True)
    table.add_column("f32", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for heading in ("1st", "2nd", "torch"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row, wide=wide))
    return table


def _cells(row: Row, *, wide: bool) -> list[Text]:
    """Return one line of the table; names are text, never markup."""
    leaf = row.leaf if wide or row.leaf != "value" else ""
    detail = Text(row.measured or leaf, style="dim")
    name = Text(row.quantity)
    names = [name, detail] if wide else [Text("\n").join([name, detail]) if detail else name]
    verdict = Text(row.verdict, style="green" if row.agrees else "bold red")
    times = (row.first_call_s, row.second_call_s, row.torch_s)
    return [
        Text(row.case, style="bold"),
        *names,
        Text("" if row.error_f64 is None else f"{row.error_f64:.1e}" if row.error_f64 else "0"),
        Text("" if row.noise_f32 is None else _multiple(row.noise_f32)),
        verdict,
        *[Text("" if seconds is None else duration(seconds)) for seconds in times],
    ]


def _multiple(noise: float) -> str:
    """Return a multiple of torch's noise: ``1.3x``."""
    return f"{noise:.1f}x" if noise < 1000 else f"{noise:.0e}x"


def duration(seconds: float) -> str:
    """Return a time in three digits or so and its unit."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f}us"
    return f"{seconds * 1e3:.0f}ms" if seconds < 1 else f"{seconds:.1f}s"
