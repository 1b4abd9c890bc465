"""Results on disk: one schema with a version, written whole or not at all; what is not of it is refused in a line."""

import json
import math
from pathlib import Path
from typing import Any

from bench import _repeats
from bench._command import leave
from jaxgrad.verify import _files

__all__ = ["NAME", "VERSION", "errors_of", "finite", "load", "load_plain", "read", "save", "write"]

NAME, VERSION = "jaxgrad-bench", 1

SCHEMA = Path(__file__).parent / "results" / "schema.json"

TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


def save(path: Path, record: dict[str, Any]) -> None:
    """Write a result; on any failure, such as a full disk, the old one stays.

    Raises:
        OSError: As the system gave it, with the path and what was kept.
        ValueError: If the record is not of the schema.
    """
    record = finite(record)
    wrong = errors_of(record, json.loads(SCHEMA.read_text()))
    if wrong:
        message = f"the record is not of the schema: {wrong[0]}"
        raise ValueError(message)
    write(path, record)


def load(command: str, path: Path) -> dict[str, Any]:
    """Return a result, its intervals widened by what differs between visits; leave where it is no result."""
    return _repeats.widened(load_plain(command, path))


def load_plain(command: str, path: Path) -> dict[str, Any]:
    """Return a result as it is on disk; leave with one line where it is missing, truncated, or of another schema."""
    record = read(command, path)
    if not isinstance(record, dict) or record.get("schema") != NAME:
        leave(command, f'{path} is no result of python -m bench: it has no "schema": "{NAME}"')
    if record.get("version") != VERSION:
        leave(
            command, f"{path} is of version {record.get('version')} of the schema; this bench reads version {VERSION}"
        )
    wrong = errors_of(record, json.loads(SCHEMA.read_text()))
    if wrong:
        leave(command, f"{path} is damaged: {wrong[0]}")
    return record


def read(command: str, path: Path) -> Any:
    """Return what a file of JSON holds; leave with one line where it is missing, or truncated."""
    try:
        return json.loads(path.read_text())
    except OSError as error:
        leave(command, f"cannot read {path}: {error.strerror or error}")
    except (ValueError, RecursionError) as error:
        leave(command, f"{path} is no JSON, or was cut short: {error}")


def write(path: Path, record: Any) -> None:
    """Write a file of JSON, whole or not at all.

    Raises:
        OSError: As the system gave it, with the path and what was kept.
    """
    text = json.dumps(record, indent=1, allow_nan=False) + "\n"
    _files.write_atomically(path, lambda file: file.write(text.encode()))


def finite(value: Any) -> Any:
    """Return a record in which numbers that JSON cannot say are null."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def errors_of(value: Any, schema: dict[str, Any], place: str = "the file") -> list[str]:
    """Return what is wrong with a value, by the part of JSON Schema that ours is written in."""
    if "const" in schema and value != schema["const"]:
        return [f"{place} is {value!r}, expected {schema['const']!r}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{place} is {value!r}, expected one of {', '.join(schema['enum'])}"]
    names = schema.get("type", [])
    names = [names] if isinstance(names, str) else names
    if names and not any(_is(value, name) for name in names):
        return [f"{place} is {type(value).__name__}, expected {' or '.join(names)}"]
    found = []
    if isinstance(value, dict):
        found += [f"{place} has no {key!r}" for key in schema.get("required", ()) if key not in value]
        for key, own in schema.get("properties", {}).items():
            found += errors_of(value[key], own, f"{place}, {key}") if key in value else []
    if isinstance(value, list) and "items" in schema:
        for i, item in enumerate(value):
            found += errors_of(item, schema["items"], f"{place}[{i}]")
    return found


def _is(value: Any, name: str) -> bool:
    """Whether a value is of a type of JSON; true and false are no numbers there."""
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))
