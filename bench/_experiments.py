"""Figures of experiments, which are too long for a row: the records behind the tables that documents have of them.

``results/experiments.json`` holds the tables by their names: ``commands``, which compute the figures, and are none
where they were measured by hand; ``date`` and ``commit``, when the figures came into the repository; ``machine``, what
they were measured on; ``head`` and ``rows``, the cells as they are shown. Whoever runs a command again enters what it
prints. ``results/fields.json`` is what ``python -m bench.fields`` writes itself.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench._command import leave
from bench._markdown import table as markdown
from bench._results import errors_of, read

__all__ = ["load", "load_fields", "of_fields", "table"]

NAME, VERSION = "jaxgrad-bench-experiments", 1

WORDS = {"type": "array", "items": {"type": "string"}}
EXPERIMENT: dict[str, Any] = {
    "commands": WORDS,
    "date": {"type": "string"},
    "commit": {"type": "string"},
    "machine": {"type": "string"},
    "head": WORDS,
    "rows": {"type": "array", "items": WORDS},
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["schema", "version", "experiments"],
    "properties": {"schema": {"const": NAME}, "version": {"const": VERSION}, "experiments": {"type": "object"}},
}
FIELDS: dict[str, Any] = {
    "type": "object",
    "required": ["settings", "versions", "rows"],
    "properties": {
        "rows": {
            "type": "array",
            "items": {
                "type": "object",
                "required": [
                    *("picture", "model", "optimizer", "targets"),
                    *("ceiling", "psnr_mean", "ssim", "gradient_error", "seconds"),
                ],
            },
        },
    },
}
TARGETS = ("spectral", "central", "sobel")
KNOWN = 120
"""Decibels beyond which a ceiling is rounding."""


def load(command: str, path: Path) -> dict[str, Any]:
    """Return the experiments by name; leave with one line where the file is damaged, or has what we do not know."""
    record = read(command, path)
    wrong = errors_of(record, SCHEMA)
    if not wrong:
        wrong = [f"it has {key!r}, which no such file has" for key in record.keys() - SCHEMA["properties"]]
    for name, one in {} if wrong else record["experiments"].items():
        wrong += errors_of(one, {"type": "object", "required": list(EXPERIMENT), "properties": EXPERIMENT}, name)
        if not wrong:
            wrong += [f"{name} has {key!r}, which no experiment has" for key in one.keys() - EXPERIMENT.keys()]
            cells = len(one["head"])
            wrong += [f"{name}, row {row!r}: expected {cells} cells" for row in one["rows"] if len(row) != cells]
    if wrong:
        leave(command, f"{path} is damaged: {wrong[0]}")
    return dict(record["experiments"])


def table(command: str, record: dict[str, Any], wanted: Sequence[str]) -> str:
    """Return the tables of experiments, each behind a line that says where its figures come from."""
    made = []
    for name in wanted:
        if name not in record:
            leave(command, f"there is no experiment {name!r}; there are {', '.join(record)}")
        one = record[name]
        source = ", ".join(f"`{command}`" for command in one["commands"]) or "Measured by hand, by no command kept here"
        where = f"{source}; {one['machine']}; {one['date']}, commit {one['commit']}.\n\n"
        made.append(where + markdown(one["head"], one["rows"]))
    return "\n".join(made)


def load_fields(command: str, path: Path) -> dict[str, Any]:
    """Return the comparison of fields; leave with one line where the file is damaged."""
    record = read(command, path)
    wrong = errors_of(record, FIELDS)
    if wrong:
        leave(command, f"{path} is damaged: {wrong[0]}")
    return dict(record)


def of_fields(command: str, record: dict[str, Any], wanted: Sequence[str]) -> str:
    """Return networks and optimizers by picture, the best first, and what a perfect fit to each target would reach."""
    del command, wanted
    rows = record["rows"]
    pictures = list(dict.fromkeys(row["picture"] for row in rows))
    lines = []
    for method in dict.fromkeys(map(_method, rows)):
        found = {(row["picture"], row["targets"]): row for row in rows if _method(row) == method}
        shown = [_by_targets(found, picture, "psnr_mean") for picture in pictures]
        exact = [found[picture, "spectral"] for picture in pictures]
        ssim, error = (statistics.median(row[name] for row in exact) for name in ("ssim", "gradient_error"))
        seconds = statistics.median(row["seconds"] for row in found.values())
        cells = [", ".join(method), *shown, f"{ssim:.3f}", f"{error:.2f}", f"{seconds:.0f}"]
        lines.append((statistics.mean(row["psnr_mean"] for row in exact), cells))
    lines.sort(key=lambda line: -line[0])
    perfect = ["a perfect fit", *(_by_targets(found, picture, "ceiling") for picture in pictures), "1", "0", ""]
    head = ["network, optimizer", *pictures, "SSIM", "error of the gradient", "seconds"]
    made_by = f"`python -m bench.fields`, jax {record['versions']['jax']}, {record['versions']['device']}.\n\n"
    return made_by + markdown(head, [*(line for _, line in lines), perfect])


def _method(row: dict[str, Any]) -> tuple[str, str]:
    """Return what is compared."""
    return row["model"], row["optimizer"]


def _by_targets(found: dict[tuple[str, str], dict[str, Any]], picture: str, name: str) -> str:
    """Return a number of decibels by each kind of targets."""
    numbers = [found[picture, targets][name] for targets in TARGETS]
    return " / ".join(f"> {KNOWN}" if number > KNOWN else f"{number:.1f}" for number in numbers)
