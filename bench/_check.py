"""The check of continuous integration: FLOPs, bytes, temporaries and collective bytes of every row, never a time.

Our program of every row is lowered and compiled at its small sizes; nothing runs. The committed costs are of one
version of XLA on one platform: under another there is nothing to compare with.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jaxlib

from bench import _results
from bench._agreement import in_a_line
from bench._command import leave
from bench._compare import SMALLEST
from bench._phases import cost_of, traced
from bench._row import Row
from bench._rows import key_of

__all__ = ["COSTS", "cost_of_row", "differences", "load", "save"]

COSTS = Path(__file__).parent / "results" / "costs.json"
NAME, VERSION = "jaxgrad-bench-costs", 1

SCHEMA = {
    "properties": {
        "made_with": {"additionalProperties": {"type": "string"}},
        "costs": {"additionalProperties": {"type": "object", "additionalProperties": {"type": ["number", "null"]}}},
    }
}

TIGHT = {"flops": 0.0, "collective_bytes": 0.0, "bytes": 0.01, "temporary_bytes": 0.01}
"""By how much each may differ: operations are counted, and what lies in memory depends on how XLA orders them, which
may change with the processor's vectors."""


def made_with() -> dict[str, str]:
    """Return what the costs depend on beside our code."""
    versions = {"jax": jax.__version__, "jaxlib": jaxlib.__version__}
    return versions | {"platform": jax.default_backend(), "XLA_FLAGS": os.environ.get("XLA_FLAGS", "")}


def cost_of_row(row: Row) -> dict[str, Any] | None:
    """Return what is compared of our program of a row at its small sizes; ``None`` where it is no single program."""
    program = row.build(row.sizes(True)).contenders[0].program
    if program is None:
        return None
    cost = cost_of(traced(program).lower().compile())
    return {name: getattr(cost, name) for name in TIGHT}


def costs_of(rows: Sequence[tuple[str, Row]]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return the costs of rows by what they are called, and why others break."""
    found, broken = {}, {}
    for family, row in rows:
        key = key_of(family, row, True)
        try:
            cost = cost_of_row(row)
        except Exception as error:  # one that breaks must not hide the others
            broken[key] = in_a_line(error)
            continue
        if cost is not None:
            found[key] = cost
    return found, broken


def save(path: Path, costs: dict[str, dict[str, Any]]) -> None:
    """Write costs, whole or not at all."""
    record = {"schema": NAME, "version": VERSION, "made_with": made_with(), "costs": dict(sorted(costs.items()))}
    _results.write(path, record)


def load(command: str, path: Path) -> dict[str, Any]:
    """Return what was committed; leave with one line where the file is not it."""
    record = _results.read(command, path)
    if not isinstance(record, dict) or (record.get("schema"), record.get("version")) != (NAME, VERSION):
        leave(command, f"{path} is no costs of python -m bench check, of version {VERSION}")
    if not isinstance(record.get("costs"), dict) or not isinstance(record.get("made_with"), dict):
        leave(command, f"{path} is damaged: it has no costs")
    wrong = _results.errors_of(record, SCHEMA)
    if wrong:
        leave(command, f"{path} is damaged: {wrong[0]}")
    return record


def differences(key: str, committed: dict[str, Any] | None, now: dict[str, Any]) -> list[str]:
    """Return what of a row has changed, a line for each quantity."""
    if committed is None:
        return [f"{key}: has no committed costs"]
    found = []
    for name, tolerance in TIGHT.items():
        before, after = committed.get(name), now[name]
        if before is None or after is None:
            if before != after:
                found.append(f"{key}: {name} {before} -> {after}")
        elif not math.isclose(before, after, rel_tol=tolerance, abs_tol=SMALLEST if name == "temporary_bytes" else 0.0):
            grown = f", {after / before:.3g} times" if before else ""
            found.append(f"{key}: {name} {before:g} -> {after:g}{grown}")
    return found
