"""A report as JSON, and how findings become what JSON holds."""

import dataclasses
import json
import math
from typing import Any

from jaxgrad.verify.report._document import Document

__all__ = ["number", "plain", "to_json"]


def to_json(document: Document) -> str:
    """Return the findings for machines."""
    return json.dumps(document.data(), allow_nan=False, indent=1) + "\n"


def plain(value: Any) -> Any:
    """Turn dataclasses, tuples and numbers into what JSON holds."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    return number(value) if isinstance(value, float) else str(value)


def number(value: float | None) -> float | None:
    """Return a number that JSON has; infinity becomes a very large one, NaN nothing."""
    if value is None or math.isnan(value):
        return None
    return math.copysign(1e300, value) if math.isinf(value) else float(value)
