"""Results on disk: one schema with a version, written whole or not at all; what is not of it is refused in a line."""

import json
import math
import sys
from pathlib import Path
from typing import Any

from bench import _repeats
from bench._command import leave
from jaxgrad.verify import _files

__all__ = ["NAME", "VERSION", "commits", "errors_of", "finite", "load", "load_plain", "read", "save", "write"]

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
        return json.loads(path.read_text(), parse_constant=_refuse)
    except OSError as error:
        leave(command, f"cannot read {path}: {error.strerror or error}")
    except (ValueError, RecursionError) as error:
        leave(command, f"{path} is no JSON, or was cut short: {error}")


def _refuse(word: str) -> None:
    """Refuse what Python reads as a number and JSON does not have: every comparison with it is false.

    Raises:
        ValueError: Always.
    """
    message = f"{word} is no number"
    raise ValueError(message)


def write(path: Path, record: Any) -> None:
    """Write a file of JSON, whole or not at all.

    Raises:
        OSError: As the system gave it, with the path and what was kept.
    """
    text = json.dumps(record, indent=1, allow_nan=False) + "\n"
    _files.write_atomically(path, lambda file: file.write(text.encode()))


def commits(record: dict[str, Any]) -> list[str]:
    """Return the commits that the parts of a run are of."""
    return list(dict.fromkeys(part["commit"] for part in record["run"]["parts"])) or [record["environment"]["commit"]]


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
    if isinstance(value, dict):
        return _errors_of_object(value, schema, place)
    if isinstance(value, list):
        least, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)
        if not least <= len(value) <= most:
            return [f"{place} has {len(value)} items, expected {least}" + (" at least" if most > least else "")]
        items = schema.get("items", {})
        return [wrong for i, item in enumerate(value) for wrong in errors_of(item, items, f"{place}[{i}]")]
    if _is(value, "number"):
        least = schema.get("exclusiveMinimum")
        if not abs(value) <= sys.float_info.max or (least is not None and value <= least):
            return [f"{place} is {value}, expected a number" + ("" if least is None else f" above {least}")]
    return []


def _errors_of_object(value: dict[str, Any], schema: dict[str, Any], place: str) -> list[str]:
    """Return what is wrong with an object: keys that it lacks, and values of those that it has."""
    needed = [*schema.get("required", ())]
    needed += [key for start, more in schema.get("dependentRequired", {}).items() if start in value for key in more]
    found = [f"{place} has no {key!r}" for key in needed if key not in value]
    known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    for key, item in value.items():
        own = known.get(key, others)
        found += errors_of(item, own, f"{place}, {key}") if own else []
    return found


def _is(value: Any, name: str) -> bool:
    """Whether a value is of a type of JSON; true and false are no numbers there."""
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))
