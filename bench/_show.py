"""What a run prints: a table for each row, and who could not run."""

from typing import Any

from rich.console import Console
from rich.table import Table

from bench._beside import MUCH

__all__ = ["console", "lines_of_curve", "notes_of", "of_visits", "table_of"]


WIDE = 120
"""Columns where nobody looks at a terminal: in a file, a table is not cut."""


def console() -> Console:
    """Return where tables are printed."""
    there = Console()
    return there if there.is_terminal else Console(width=WIDE)


def table_of(result: dict[str, Any]) -> Table:
    """Draw one row's result; a column that nothing fills is left out."""
    state = "" if result["settled"] else ", not settled"
    table = Table(
        title=f"{result['key']} ({result['dtype']}, {result['rounds']} rounds{state})",
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
        title_style="bold",
    )
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
    """Return what a contender's line says under each heading; a ratio that may be 1 has a question mark."""
    has = {key for key, value in entry.items() if value is not None}
    doubt = "?" if entry["says"] == "nothing" else ""
    return {
        "contender": entry["name"],
        "ms": f"{1e3 * entry['median_s']:.3g}",
        "x grad": f"{entry['over_gradient'][0]:.2g}" if "over_gradient" in has else "",
        "ours / it, 95%": "{:.2g} {:.2g}-{:.2g}".format(*entry["ours_over_it"]) + doubt,
        "cold, warm s": "{:.2g}, {:.2g}".format(*to_compile(entry)) if "trace_s" in has else "",
        "MFLOP": f"{entry['flops'] / 1e6:.4g}" if "flops" in has else "",
        "temp MiB": f"{entry['temporary_bytes'] / 2**20:.3g}" if "temporary_bytes" in has else "",
        "peak MiB": f"{entry['peak_bytes'] / 2**20:.3g}" if "peak_bytes" in has else "",
    }


def to_compile(entry: dict[str, Any]) -> tuple[float, float]:
    """Return the seconds from a function to its program, with an empty cache and with one that has it."""
    before = entry["trace_s"] + entry["lower_s"]
    return before + entry["compile_s"], before + entry["warm_compile_s"]


def lines_of_curve(curve: dict[str, Any]) -> list[str]:
    """Return a curve in three lines or so: its sizes and times, its exponents, and what broke."""
    times = ", ".join(f"{p['size']:g}: {1e3 * p['median_s']:.3g}" for p in curve["points"])
    words = {"median_s": "time", "compile_s": "compiling", "flops": "FLOPs", "temporary_bytes": "temporaries"}
    fits = [(words[key], fit) for key, fit in curve["exponents"].items() if fit]
    grown = ", ".join("{} {:.2f} ({:.2f} to {:.2f})".format(word, *fit) for word, fit in fits)
    broken = [f"  {size} did not run: {why}" for size, why in curve["broken"].items()]
    title = f"{curve['family']}.{curve['name']} over {curve['axis']}, ms: {times}"
    return [title, *([f"  exponents: {grown}"] if grown else []), *broken]


def of_visits(between: dict[str, Any]) -> str:
    """Return in a line how ratios differ between visits."""
    return (
        f"{len(between['rows'])} rows were measured once more: between visits a ratio varies by "
        f"{between['deviation']:.1%} (standard deviation), which every interval of the report has in it"
    )


def notes_of(result: dict[str, Any]) -> list[str]:
    """Return who could not run and why, and what is to be said of who did."""
    reasons: dict[str, list[str]] = {}
    for name, why in result["absent"].items():
        reasons.setdefault(why, []).append(name)
    missed = [f"{', '.join(names)} did not run: {why}" for why, names in reasons.items()]
    at = result["agreement"].get("at", result["label"])
    if at != result["label"]:
        missed.append(f"the contenders were compared at other sizes: {at}")
    judged = result["agreement"]
    if judged.get("rule") == "verifier" and judged.get("float64_error") is None:
        missed.append("nobody here computes it beside ours: its numbers were compared with nothing")
    if (result.get("beside") or 0) > MUCH:
        missed.append(
            f"other programs took {result['beside']:.0%} of the processor meanwhile: do not trust these times"
        )
    return missed + [f"{entry['name']}: {entry['note']}" for entry in result["contenders"] if entry.get("note")]
