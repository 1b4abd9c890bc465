"""What is installed, and what its derivatives at kinks are, in the forms of every report."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from jaxgrad.verify.report._document import Column, Document, Judged, Table
from jaxgrad.verify.report._forms import Forms

__all__ = ["DoctorReport", "KinkReport"]


@dataclasses.dataclass(frozen=True)
class DoctorReport(Forms):
    """What `doctor` found, as a report."""

    facts: dict[str, Any]
    """What `doctor` returned."""

    def document(self) -> Document:
        """Return what every form is written from."""
        rows = {
            part: list((self.facts[part] or {"": "not installed"}).items()) for part in ("versions", "jax", "torch")
        }
        versions = dict(rows["versions"])
        return Document(
            command="doctor",
            ok=True,
            verdict=f"{len(self.facts['notes'])} notes on what makes numbers differ here",
            tables=[_facts(part, found) for part, found in rows.items()],
            notes=self.facts["notes"],
            judged=[
                Judged("jaxgrad.doctor", n, "agree", figures=_value(v, "not installed")) for n, v in versions.items()
            ],
            data=lambda: self.facts,
        )


def _facts(part: str, found: list[tuple[str, Any]]) -> Table:
    """Return a table of names and values."""
    missing = "not installed" if part == "versions" else "not set"
    columns = (Column(part, least=30), Column("value", "path"))
    return Table(part, columns, [(name, _value(value, missing)) for name, value in found])


def _value(value: Any, missing: str) -> str:
    """Return a fact in words."""
    return missing if value is None else str(value)


@dataclasses.dataclass(frozen=True)
class KinkReport(Forms):
    """What `kinks` found, as a report."""

    rows: Sequence[Any]
    """What `kinks` returned."""

    def document(self) -> Document:
        """Return what every form is written from."""
        columns = (Column("function"), Column("at", "number"), Column("first: torch", "number"),
                   Column("JAX", "number"), Column("second: torch", "number"), Column("JAX", "number"),
                   Column("same"))  # fmt: skip
        rows = [
            (row.function, row.point, row.torch_first, row.jax_first, row.torch_second, row.jax_second, _same(row))
            for row in self.rows
        ]
        apart = sum(_same(row) == "NO" for row in self.rows)
        return Document(
            command="kinks",
            ok=True,
            verdict=f"{apart} of {len(rows)} derivatives at kinks differ between the installed versions",
            tables=[Table("Derivatives at kinks", columns, rows)],
            judged=[
                Judged("jaxgrad.kinks", f"{row.function} at {row.point:g}", "agree", figures=f"same: {_same(row)}")
                for row in self.rows
            ],
            data=lambda: [{name: _finite(value) for name, value in vars(row).items()} for row in self.rows],
        )


def _same(row: Any) -> str:
    """Say whether both derivatives are the same in both frameworks."""
    return "yes" if row.same_first and row.same_second else "NO"


def _finite(value: Any) -> Any:
    """Return a number as JSON has it; what is infinite or none goes by its name."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
