"""``python -m bench [FAMILY ...]``: time every row against its rivals."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bench._command import check_folder, leave, watch_interrupts

app = typer.Typer(add_completion=False)
progress = Console(stderr=True)


@app.command()
def bench(
    families: Annotated[
        list[str] | None, typer.Argument(help="Families to time; all of them where none is named.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="Small sizes and few rounds: under two minutes in all.")] = False,
    row: Annotated[str | None, typer.Option(help="Only the rows whose name or sizes contain this text.")] = None,
    rounds: Annotated[
        int | None, typer.Option(min=3, help="Interleaved rounds for each row (15; 5 with --quick).")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor cores to use; all where not given.")] = None,
    memory: Annotated[
        bool | None, typer.Option(help="Measure peak memory in fresh processes (not with --quick).")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write the results to this JSON file.")] = None,
) -> None:
    """Time each row: contenders must agree, then run in interleaved rounds; ratios are paired, round by round."""
    pin(threads)
    watch_interrupts()
    from bench._record import environment
    from bench._rows import FAMILIES, rows_of

    unknown = sorted(set(families or []) - set(FAMILIES))
    if unknown:
        leave("bench", f"unknown family {', '.join(unknown)}; the families are {', '.join(FAMILIES)}")
    check_folder("bench", output)
    chosen = [
        (family, entry)
        for family in families or FAMILIES
        # in small and with nothing named, a family shows its first row: under two minutes in all
        for entry in (rows_of(family)[:1] if quick and not families and row is None else rows_of(family))
        if row is None or row in f"{entry.name}: {entry.sizes}"
    ]
    if not chosen:
        leave("bench", f"no row contains {row!r}")
    results, wrong = [], []
    for family, entry in chosen:
        progress.print(f"[dim]{family}.{entry.name}: {entry.sizes}[/dim]")
        try:
            result = time_row(
                family, entry, quick, rounds or (5 if quick else 15), not quick if memory is None else memory
            )
        except AssertionError as error:
            wrong.append(f"{family}.{entry.name}: the contenders do not agree, so their times mean nothing: {error}")
            continue
        except Exception as error:  # one row that breaks must not cost the hour that the others took
            lines = str(error).strip().splitlines() or [""]
            wrong.append(f"{family}.{entry.name}, {entry.sizes}: {type(error).__name__}: {lines[0]}")
            continue
        results.append(result)
        Console().print(table_of(result))
        if output:
            record = {"environment": environment(threads or os.cpu_count() or 1), "quick": quick, "rows": results}
            output.write_text(json.dumps(record, indent=1) + "\n")
    if wrong:
        leave("bench", "; ".join(wrong), code=1)


def pin(threads: int | None) -> None:
    """Hold the process on some cores; must come before JAX starts its threads."""
    if threads is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    import torch

    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))


def time_row(family: str, row: Any, quick: bool, rounds: int, memory: bool) -> dict[str, Any]:
    """Measure one row and return its result as plain data."""
    from bench._measure import compiled, fastest_rival, measure, paired_ratio, programs
    from bench._memory import peak_growth

    problem = row.build(quick)
    timings = measure(problem, rounds)
    ours, rival = timings[0], fastest_rival(problem, timings)
    unit = timings[-1] if problem.gradient else None
    costs = {contender.name: asdict(compiled(program)) for contender, program in programs(problem)}
    whole = f"{row.name}: {row.sizes}"
    peaks = {c.name: peak_growth(family, whole, c.name, quick) for c in problem.contenders} if memory else {}
    return {
        "family": family,
        "name": row.name,
        "sizes": row.sizes,
        "rounds": rounds,
        "ours_over_best_rival": {"rival": rival.name, "ratio": paired_ratio(ours, rival)} if rival else None,
        "ours_over_gradient": paired_ratio(ours, unit) if unit else None,
        "contenders": [
            {
                "name": timing.name,
                "median_s": timing.median,
                "first_call_s": timing.first_call_s,
                "over_gradient": paired_ratio(timing, unit) if unit else None,
                "ours_over_it": paired_ratio(ours, timing),
                "peak_bytes": peaks.get(timing.name),
                **costs.get(timing.name, {}),
            }
            for timing in timings
        ],
    }


def table_of(result: dict[str, Any]) -> Table:
    """Draw one row's result, in 80 columns; a column that nothing fills is left out."""
    title = f"{result['family']}.{result['name']}: {result['sizes']} ({result['rounds']} rounds)"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0), title_style="bold")
    lines = [cells_of(entry) for entry in result["contenders"]]
    headings = [heading for heading in lines[0] if any(line[heading] for line in lines)]
    for heading in headings:
        width = max(len(heading), *(len(line[heading]) for line in lines))
        fixed = None if heading == "contender" else width
        table.add_column(heading, justify="right" if fixed else "left", no_wrap=True, min_width=fixed)
    for line in lines:
        table.add_row(*(line[heading] for heading in headings))
    return table


def cells_of(entry: dict[str, Any]) -> dict[str, str]:
    """Return what a contender's line says under each heading."""
    has = {key for key, value in entry.items() if value is not None}
    return {
        "contender": entry["name"],
        "ms": f"{1e3 * entry['median_s']:.3g}",
        "x grad": f"{entry['over_gradient'][0]:.2g}" if "over_gradient" in has else "",
        "ours / it, 95%": "{:.2g} {:.2g}-{:.2g}".format(*entry["ours_over_it"]),
        "compile s": f"{entry['trace_s'] + entry['compile_s']:.2f}" if "trace_s" in has else "",
        "MFLOP": f"{entry['flops'] / 1e6:.4g}" if "flops" in has else "",
        "temp MiB": f"{entry['temporary_bytes'] / 2**20:.3g}" if "temporary_bytes" in has else "",
        "peak MiB": f"{entry['peak_bytes'] / 2**20:.3g}" if "peak_bytes" in has else "",
    }


if __name__ == "__main__":
    app()
