"""Tables in documents, written from a committed result: nobody types a number.

A document says where: a line ``<!-- bench families: full.json -->``, ``<!-- bench rows: full.json nth.laplacian -->``
or ``<!-- bench scale: scale.json forms -->``, and a line ``<!-- /bench -->``; what stands between them is written.
``rows`` has the fastest rival of each row, ``rivals`` all of them as ratios, and ``contenders`` a line for each with
its operations and temporaries. ``experiment`` has the figures of an experiment, and ``fields`` those of a comparison.
"""

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import _experiments, _results, _scale_record
from bench._command import leave
from bench._markdown import table
from bench._rows import FAMILIES

__all__ = ["BLOCK", "RESULTS", "documents", "stale", "written"]

RESULTS = Path(__file__).parent / "results"

BLOCK = re.compile(r"(<!-- bench (\w+): (\S+?)((?: [\w.]+)*) -->\n)(.*?)(<!-- /bench -->)", re.DOTALL)


def documents(root: Path) -> list[Path]:
    """Return the documents that hold a table of ours."""
    found = [root / "README.md", *sorted((root / "docs").glob("**/*.md"))]
    return [path for path in found if path.exists() and "<!-- bench " in path.read_text()]


def written(command: str, text: str, results: Path = RESULTS) -> str:
    """Return a document with its tables as the results have them now; leave where a block asks for what is not there.

    A block that is never closed is left to its reader: it is no block.
    """

    def fill(found: re.Match[str]) -> str:
        start, kind, name, wanted, _, end = found.groups()
        if kind not in KINDS:
            leave(command, f"there is no table {kind!r} for <!-- bench {kind}: ... -->; there are {', '.join(KINDS)}")
        path = results / name
        if not path.exists():
            return f"{start}No run is committed as `bench/results/{name}` yet.\n{end}"
        load = LOADS.get(kind, _results.load)
        return start + KINDS[kind](command, load(command, path), wanted.split()) + end

    return BLOCK.sub(fill, text)


def setting(record: dict[str, Any]) -> str:
    """Return what the numbers were measured with, in a sentence."""
    place, run = record["environment"], record["run"]
    versions = ", ".join(f"{name} {place['versions'][name]}" for name in ("jax", "torch") if name in place["versions"])
    small = ", small sizes" if run["quick"] else ""
    commits = _results.commits(record)
    versions = f"{versions}, commit{'s' * (len(commits) > 1)} {', '.join(commits)}"
    return f"{place['processor']}, {place['threads']} cores, {run['dtype']}{small}, {versions}.\n\n"


def of_families(command: str, record: dict[str, Any], wanted: Sequence[str]) -> str:
    """Return how often each family is ahead of its best rival, and by how much."""
    del command
    lines = []
    for family in wanted or FAMILIES:
        best = [row["best_rival"] for row in record["rows"] if row["family"] == family and row["best_rival"]]
        if best:
            said = [str(sum(one["says"] == word for one in best)) for word in ("faster", "slower", "nothing")]
            mean = math.exp(-sum(math.log(one["ratio"][0]) for one in best) / len(best))
            lines.append([f"`{family}`", str(len(best)), *said, f"{mean:.2f}"])
    head = ["family", "rows", "faster than the best rival", "slower", "not decided", "speed over it, geometric mean"]
    return setting(record) + table(head, lines)


def of_rows(command: str, record: dict[str, Any], wanted: Sequence[str]) -> str:
    """Return the rows of families, or of functions of a family, each against the fastest of its rivals."""
    head = ["row", "ms", "gradients", "best rival", "its time / ours", "95%", "operations", "temporaries, MiB"]
    return setting(record) + table(head, [_line(row) for row in _rows(command, record, wanted)])


def of_rivals(command: str, record: dict[str, Any], wanted: Sequence[str]) -> str:
    """Return the same rows against each of their rivals, and what they cost in gradients."""
    rows = _rows(command, record, wanted)
    names = list(dict.fromkeys(c["name"] for row in rows for c in row["contenders"][1:] if c["name"] != row["unit"]))
    head = [
        "row",
        "ms",
        "gradients",
        "operations, gradients",
        "temporaries, MiB",
        *(f"{name} / ours" for name in names),
    ]
    return setting(record) + table(head, [_against(row, names) for row in rows])


def of_contenders(command: str, record: dict[str, Any], wanted: Sequence[str]) -> str:
    """Return the same rows with a line for each contender: what it costs, in the row's unit."""
    lines = []
    for row in _rows(command, record, wanted):
        label = f"{row['name']}: {row['label']}"
        for entry in row["contenders"]:
            lines.append([label, entry["name"], *_timed(entry), _flops(row, entry), _temporaries(entry)])
            label = ""
    head = ["row", "contender", "ms", "gradients", "operations, gradients", "temporaries, MiB"]
    return setting(record) + table(head, lines)


def _rows(command: str, record: dict[str, Any], wanted: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of families, of functions, or of names with ``_`` for spaces; leave where there are none."""
    chosen = []
    for one in wanted:
        family, _, name = one.partition(".")
        found = [
            row
            for row in record["rows"]
            if row["family"] == family
            and name in ("", row["name"].split(",")[0].split()[0], row["name"].replace(" ", "_"))
        ]
        if not found:
            known = sorted({f"{row['family']}.{row['name']}" for row in record["rows"]})
            leave(command, f"the result has no rows of {one}; it has {', '.join(known)}")
        chosen += found
    return chosen


def _against(row: dict[str, Any], names: Sequence[str]) -> list[str]:
    """Return a row of the table of all rivals: how often our time each takes, with its 95% interval."""
    by_name = {entry["name"]: entry for entry in row["contenders"]}
    ours = row["contenders"][0]
    cells = [*_named_and_timed(row), _flops(row, ours), _temporaries(ours)]
    for name in names:
        if name not in by_name:
            cells.append("")
            continue
        middle, low, high = by_name[name]["ours_over_it"]
        cells.append(f"{1 / middle:.2f} ({1 / high:.2f} to {1 / low:.2f})")
    return cells


def _line(row: dict[str, Any]) -> list[str]:
    """Return a row of the table."""
    ours, best = row["contenders"][0], row["best_rival"]
    rival = ["", "", ""]
    if best:
        middle, low, high = best["ratio"]
        doubt = " (not decided)" if best["says"] == "nothing" else ""
        rival = [best["name"], f"{1 / middle:.2f}", f"{1 / high:.2f} to {1 / low:.2f}{doubt}"]
    flops = f"{ours['flops']:.3g}" if ours.get("flops") is not None else ""
    return [*_named_and_timed(row), *rival, flops, _temporaries(ours)]


def _named_and_timed(row: dict[str, Any]) -> list[str]:
    """Return a row's first cells: what it is, our milliseconds, and our time in gradients."""
    return [f"{row['name']}: {row['label']}", *_timed(row["contenders"][0])]


def _timed(entry: dict[str, Any]) -> list[str]:
    """Return a contender's milliseconds, and its time in gradients; neither where it could not run."""
    milliseconds = f"{1e3 * entry['median_s']:.3g}" if entry.get("median_s") is not None else ""
    return [milliseconds, f"{entry['over_gradient'][0]:.2f}" if entry.get("over_gradient") else ""]


def _flops(row: dict[str, Any], entry: dict[str, Any]) -> str:
    """Return a contender's operations in those of the row's unit, where both are known."""
    unit = next((one for one in row["contenders"] if one["name"] == row["unit"]), {})
    return f"{entry['flops'] / unit['flops']:.2f}" if entry.get("flops") and unit.get("flops") else ""


def _temporaries(entry: dict[str, Any]) -> str:
    """Return a contender's temporaries in MiB, where they are known."""
    return f"{entry['temporary_bytes'] / 2**20:.3g}" if entry.get("temporary_bytes") is not None else ""


KINDS: dict[str, Callable[[str, dict[str, Any], Sequence[str]], str]] = {
    "families": of_families,
    "rows": of_rows,
    "rivals": of_rivals,
    "contenders": of_contenders,
    "scale": _scale_record.table,
    "experiment": _experiments.table,
    "fields": _experiments.of_fields,
}

LOADS = {"scale": _scale_record.load, "experiment": _experiments.load, "fields": _experiments.load_fields}


def stale(command: str, root: Path) -> list[Path]:
    """Return the documents whose tables are not what the results say."""
    return [path for path in documents(root) if written(command, path.read_text()) != path.read_text()]
