"""Does the verifier let a correct form pass, and detect, place and name a mistake?"""

import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.verify.field.expected import Expected, of_module

GOALS = {"passed": 1.0, "detected": 1.0, "placed": 0.92, "named": 0.80}
"""The parts that must be met: of correct forms, and of mistakes that change a number."""

VAGUE = ("addend-missing", "axis-order", "padding", "positions")
"""Causes that tell a porter what to write only where they are proven: otherwise they say no more than where to look."""

FAST = ("value", "gradient", "activations", "activation_gradient")


def load(folder: Path, name: str) -> ModuleType:
    """Import a pair from its file."""
    spec = importlib.util.spec_from_file_location(f"field_{name}", folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # flax asks for the module of a class while it is made
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def score(module: ModuleType, name: str, bug: str) -> dict[str, Any]:
    """Run one form of a pair, and say what is right of the report."""
    expected = of_module(module, name)[bug]
    begun = time.process_time()
    row: dict[str, Any] = {"pair": name, "bug": bug, "kind": expected.kind, "path": "", "causes": [], "text": "",
                           "rules": 0, "audit": True, "failed": ""}  # fmt: skip
    try:
        report = _run(module, bug, expected, row)
    except Exception as error:
        row["failed"] = f"{type(error).__name__}: {error}"[:300]
        report = None
    row["seconds"] = time.process_time() - begun
    return row | _marks(report, row, expected)


def _run(module: ModuleType, bug: str, expected: Expected, row: dict[str, Any]) -> Any:
    """Audit a correct form, and check any."""
    from jaxgrad import verify

    given = module.make(bug)
    row["rules"] = len(given.get("mapping", ()))
    pair = verify.pair(**given)
    if expected.kind == "same":
        row["audit"] = pair.audit().ok
    what = getattr(module, "WHAT", {}).get(bug, None if not bug else FAST)
    report = pair.check(what, **({} if expected.kind == "same" else {"dtypes": ("float64",)}))
    row["path"] = str(report.first_divergence or "")
    row["causes"] = [f"{cause.id}{'!' if cause.proven else ''}" for cause in report.causes]
    row["text"] = "; ".join(map(str, report.causes))
    row["wrong"] = [f"{r.name} {r.error:.1e}" for r in report.results if r.verdict != "agree"]
    return report


def _marks(report: Any, row: dict[str, Any], expected: Expected) -> dict[str, bool]:
    """Say which of the goals a report meets."""
    if expected.kind == "refused":
        return {"passed": report is None or not report.ok}
    if expected.kind == "same":
        return {"passed": report is not None and report.ok and row["audit"]}
    if report is None:
        return {"detected": False, "placed": False, "named": False}
    first = report.causes[0] if report.causes else None
    named = first is not None and first.id in expected.causes and (first.proven or first.id not in VAGUE)
    return {
        "detected": not report.ok,
        "placed": not report.ok and row["path"] in expected.places,
        "named": named,
    }


def rates(rows: list[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    """Return for every goal how many rows meet it, and how many there are; silent mistakes count for none."""
    found = {}
    for goal in GOALS:
        counted = [row[goal] for row in rows if goal in row and row["kind"] != "silent"]
        found[goal] = sum(counted), len(counted)
    return found
