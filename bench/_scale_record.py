"""The result of ``python -m bench.scale``: one file with a version, and what is printed and written of it."""

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench._command import leave
from bench._markdown import table as markdown
from bench._record import commit, cores, processor
from bench._results import errors_of, finite, read, write

__all__ = ["environment", "line_of", "load", "save", "table"]

NAME, VERSION = "jaxgrad-bench-scale", 1

PLACE = ("processes", "devices")
"""What a result was computed with."""

NUMBERS = {"type": "array", "items": {"type": "number"}}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["schema", "version", "environment", "run", "forms", "predictions", "training"],
    "properties": {
        "environment": {
            "type": "object",
            "required": ["versions", "processor", "cores", "load_average", "commit"],
            "properties": {"versions": {"type": "object"}},
        },
        "run": {"type": "object"},
        "forms": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["form", "placement", "processes", "devices", "error", "collectives", "gradient_bytes"],
                "properties": {
                    "seconds": NUMBERS,
                    "alone_seconds": NUMBERS,
                    "error": {"type": "number"},
                    "collectives": {
                        "type": "object",
                        "additionalProperties": {"type": "object", "required": ["count", "bytes"]},
                    },
                },
            },
        },
        "predictions": {
            "type": "array",
            "items": {"type": "object", "required": ["form", "devices", "ici_bytes", "ring_bytes", "not_counted"]},
        },
        "training": {"type": ["object", "null"]},
    },
}


def environment() -> dict[str, Any]:
    """Return what the numbers were measured with."""
    names = ("jaxgrad", "jax", "jaxlib", "numpy", "optax", "orbax-checkpoint")
    return {
        "versions": {name: importlib.metadata.version(name) for name in names},
        "python": platform.python_version(),
        "processor": processor(),
        "cores": cores(),
        "load_average": os.getloadavg()[0],
        "commit": commit(),
    }


def save(path: Path, record: dict[str, Any]) -> None:
    """Write a result, whole or not at all.

    Raises:
        OSError: As the system gave it.
    """
    write(path, finite({"schema": NAME, "version": VERSION, **record}))


def load(command: str, path: Path) -> dict[str, Any]:
    """Return a result; leave with one line where the file is missing, cut short, or another one."""
    record = read(command, path)
    if not isinstance(record, dict) or (record.get("schema"), record.get("version")) != (NAME, VERSION):
        leave(command, f"{path} is no result of python -m bench.scale, of version {VERSION}")
    wrong = errors_of(record, SCHEMA)
    if wrong:
        leave(command, f"{path} is damaged: {wrong[0]}")
    return record


def sent(found: dict[str, Any]) -> str:
    """Say what goes between devices."""
    parts = [f"{one['count']} {kind}, {one['bytes']:,} bytes" for kind, one in sorted(found["collectives"].items())]
    return "; ".join(parts) or "nothing"


def line_of(kind: str, found: dict[str, Any]) -> str:
    """Say in one line what was found."""
    if kind == "prediction":
        missing = ", ".join([*found["not_counted"], *(f"{n} turns of a loop" for n in found["loops_counted_once"])])
        left = f"; not counted: {missing}" if missing else ""
        return (
            f"{found['form']:12} foretold for {found['devices']} devices: {found['flops']:.3g} FLOPs,"
            f" {found['hbm_bytes']:.3g} bytes of memory, {found['ici_bytes']:.3g} bytes sent by each"
            f" (a ring: {found['ring_bytes']:.3g}){left}"
        )
    place = ", ".join(
        f"{found[one]} {one if found[one] > 1 else one[: -2 if one == 'processes' else -1]}" for one in PLACE
    )
    if kind == "training":
        torn = ", ".join(map(str, found.get("unreadable", [])))
        instead = f" (the checkpoint of step {torn} could not be read)" if torn else ""
        rate = "" if found["step_seconds"] is None else f" {1 / found['step_seconds']:.3g} steps a second,"
        return (
            f"training     {place}: steps {found['began_with']} to {found['steps']}{instead},{rate}"
            f" accuracy {found['accuracy']:.1%}, sha256 of the parameters {found['digest'][:16]}"
        )
    return (
        f"{found['form']:12} {place}, {found['placement']}: differs by {found['error']:.1e}; {sent(found)};"
        f" {1e3 * found['seconds'][0]:.3g} ms, one device alone {1e3 * found['alone_seconds'][0]:.3g} ms"
    )


def table(command: str, record: dict[str, Any], wanted: Sequence[str]) -> str:
    """Return the tables of a document: ``forms``, ``predictions``."""
    made = []
    for one in wanted:
        if one not in TABLES:
            leave(command, f"a result of bench.scale has no table {one!r}; it has {', '.join(TABLES)}")
        head, lines = TABLES[one](record)
        made.append(markdown(head, lines))
    place = record["environment"]
    # a CPU's device is called cpu, and its processor stands there already
    kinds = sorted({one["device_kind"] for one in record["forms"] if one.get("device_kind", "cpu") != "cpu"})
    setting = (
        f"{', '.join([*kinds, place['processor']])}, {place['cores']} cores,"
        f" load average {place['load_average']:.1f} at the start,"
        f" JAX {place['versions']['jax']}, commit {place['commit']}.\n\n"
    )
    return setting + "\n".join(made)


def _forms(record: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the rows of `jax.shard_map`, and of FSDP."""
    rows = [one for one in record["forms"] if one["placement"] == "shard_map" or one["form"] == "fsdp"]
    lines = [
        [
            f"`{one['form']}`",
            str(one["processes"]),
            str(one["devices"]),
            f"{one['error']:.1e}",
            sent(one),
            f"{1e3 * one['seconds'][0]:.3g}",
            f"{1e3 * one['alone_seconds'][0]:.3g}",
        ]
        for one in rows
    ]
    head = ["form", "processes", "devices", "differs by", "collectives", "ms", "ms, one device"]
    return head, lines


def _predictions(record: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return what is foretold for few devices, and for the most."""
    most = max((one["devices"] for one in record["predictions"]), default=0)
    lines = []
    for one in record["predictions"]:
        if one["devices"] not in (8, most):
            continue
        missing = [f"{number} `{name}`" for name, number in one["not_counted"].items()]
        missing += [f"{length} turns of a loop" for length in one["loops_counted_once"]]
        numbers = [one[name] for name in ("flops", "hbm_bytes", "ici_bytes", "ring_bytes")]
        shown = [f"{number:.3g}" for number in numbers]
        head = [f"`{one['form']}`", str(one["devices"]), *shown, f"{one['efficiency']:.0%}"]
        lines.append([*head, ", ".join(missing) or "nothing"])
    head = ["form", "devices", "FLOPs", "memory, bytes", "sent, bytes", "ring, bytes", "computing", "not counted"]
    return head, lines


TABLES = {"forms": _forms, "predictions": _predictions}
