"""The public functions of the house, and who is exempt from which rule, with the reason."""

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

FAMILIES = ("gradient", "shift", "nth", "curvature", "meta", "inr", "per_example", "multi_loss")

EAGER: dict[str, str] = {}
"""Public names that are not jitted functions of arrays."""

NO_TWIN: dict[str, str] = {}
"""Public names without a torch twin."""

NO_ROW: dict[str, str] = {}
"""Algorithms (by file) without a benchmark row."""


def public_functions() -> dict[str, Callable[..., Any]]:
    """Return every public function of the families by its name, ``curvature.hvp``."""
    found = {}
    for family in FAMILIES:
        module = importlib.import_module(f"jaxgrad.{family}")
        found |= {f"{family}.{name}": getattr(module, name) for name in module.__all__}
    return found


def stem(function: Callable[..., Any]) -> str:
    """Return the name of the file that defines a function, without its underscore."""
    return Path(inspect.getfile(inspect.unwrap(function))).stem.removeprefix("_")


def is_function(thing: Any) -> bool:
    """Say whether a public name is a function (and not a record that one returns)."""
    return callable(thing) and not inspect.isclass(thing)
