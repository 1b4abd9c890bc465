"""What a run of the built-in cases found: a row for everything that was compared, and the report of them all."""

import dataclasses
import math
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from jaxgrad.verify.judge._tolerances import DEFINITION_F64, NOISE_MULTIPLE, NOISE_MULTIPLE_OF_A_NUMBER
from jaxgrad.verify.report._cells import written
from jaxgrad.verify.report._document import Column, Document, Judged, Table
from jaxgrad.verify.report._forms import Forms

__all__ = ["CaseReport", "Row"]


@dataclass(frozen=True)
class Row:
    """The result of one quantity or criterion of a case."""

    case: str
    """The case's id."""
    title: str
    """What the case computes."""
    quantity: str
    """What was compared or measured."""
    verdict: Literal["agree", "differ"]
    """``differ`` also where the case raised an error."""
    error_f64: float | None = None
    """Relative L2 error of the worst leaf in float64, against torch and the closed form; ``None`` where no trees
    were compared."""
    noise_f32: float | None = None
    """Error of the worst leaf in float32, in multiples of torch's own float32 error."""
    leaf: str = ""
    """The leaf that decided: the first that failed, otherwise the worst in float64."""
    measured: str = ""
    """A criterion's figure, in words."""
    reason: str = ""
    """Why the verdict is ``differ``, in a line."""
    first_call_s: float | None = None
    """Seconds of our first float32 call, compilation included; of a criterion's whole measurement."""
    second_call_s: float | None = None
    """Seconds of our second float32 call."""
    torch_s: float | None = None
    """Seconds of the reference's float32 call."""
    traceback: str = ""
    """The traceback of an error in the case."""

    @property
    def agrees(self) -> bool:
        """Whether the verdict is ``agree``."""
        return self.verdict == "agree"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields in their order, as JSON can hold them: an infinity becomes ``None``.

        The reason of such a row says what is wrong, since an infinite error always differs.
        """
        fields = dataclasses.asdict(self)
        return {name: None if _is_infinite(value) else value for name, value in fields.items()}


def _is_infinite(value: Any) -> bool:
    """Say whether a field holds a number that JSON has no word for."""
    return isinstance(value, float) and not math.isfinite(value)


COLUMNS = (
    Column("case", least=4),
    Column("quantity", "path", least=24),
    Column("worst leaf or figure", "path", joins=True),
    Column("f64", "error"),
    Column("f32", "multiple"),
    Column("verdict", "verdict"),
    Column("1st", "seconds"),
    Column("2nd", "seconds"),
    Column("torch", "seconds"),
)

LEGEND = (
    ("f64", f"relative L2 error of the worst leaf in float64 (allowed {DEFINITION_F64:g})"),
    (
        "f32",
        "its error in float32 in multiples of torch's own rounding error there: 1x is as good as torch (allowed"
        f" {NOISE_MULTIPLE:g}x, for a single number {NOISE_MULTIPLE_OF_A_NUMBER:g}x)",
    ),
    ("times", "our first call, compilation included; our second call; torch's call"),
)


@dataclass(frozen=True)
class CaseReport(Forms):
    """The rows of a run of the built-in cases, and the circumstances."""

    rows: tuple[Row, ...]
    """A row for everything that was compared."""
    seconds: float
    """Duration of the whole run."""
    device: str
    """The platform that JAX computed on."""
    date: str = ""
    """When it ended, as ISO 8601 has it."""
    verbose: bool = False
    """Whether the traceback of an error in a case is told too."""

    @property
    def differing(self) -> list[Row]:
        """The rows that differ."""
        return [row for row in self.rows if not row.agrees]

    @property
    def ok(self) -> bool:
        """Whether every row agrees."""
        return not self.differing

    @property
    def verdict(self) -> str:
        """One line: how many agree, how long it took, and the worst errors."""
        cases = len({row.case for row in self.rows})
        bad = len(self.differing)
        verdict = f"{len(self.rows) - bad} agree, {bad} differ{'s' if bad == 1 else ''}" if bad else "all agree"
        time = f"{self.seconds:.0f} s" if self.seconds < 120 else f"{self.seconds / 60:.1f} min"
        head = f"{_count(cases, 'case')}, {_count(len(self.rows), 'row')}: {verdict}, in {time}."
        errors = [(row.error_f64, row.case) for row in self.rows if row.error_f64 is not None]
        multiples = [(row.noise_f32, row.case) for row in self.rows if row.noise_f32 is not None]
        worst = [f"float64 error {max(errors)[0]:.1e} ({max(errors)[1]})"] if errors else []
        if multiples:
            worst.append(
                f"float32 error {written(max(multiples)[0], 'multiple')} torch's rounding ({max(multiples)[1]})"
            )
        return f"{head} Worst {', '.join(worst)}." if worst else head

    def document(self) -> Document:
        """Return what every form is written from."""
        versions = ", ".join(f"{name} {_version(name)}" for name in ("torch", "jax", "jaxgrad"))
        compared = [
            ("cases", ", ".join(dict.fromkeys(row.case for row in self.rows))),
            ("versions", f"{versions}; jax on {self.device}, torch on cpu"),
            ("date", self.date.replace("T", " ")[:16]),
        ]
        rows = [_cells(row) for row in self.rows]
        apart = [cells for row, cells in zip(self.rows, rows, strict=True) if not row.agrees]
        return Document(
            command="verify",
            ok=self.ok,
            verdict=self.verdict,
            compared=[(name, value) for name, value in compared if value],
            tables=[Table("Rows that differ", COLUMNS, apart, in_text=False), Table("All rows", COLUMNS, rows)],
            wrong=[self._told(row) for row in self.differing],
            legend=LEGEND,
            judged=[_judged(row) for row in self.rows],
            seconds=self.seconds,
            date=self.date,
            limit=DEFINITION_F64,
            data=lambda: [row.to_dict() for row in self.rows],
        )

    def _told(self, row: Row) -> str:
        """Return why a row differs."""
        more = f"\n{row.traceback.rstrip()}" if self.verbose and row.traceback else ""
        return f"{row.case}, {row.quantity}: {row.reason}{more}"


def _version(name: str) -> str:
    """Return the version of a package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _cells(row: Row) -> tuple[str | float | None, ...]:
    """Return the cells of a row; of a result that is one array the leaf has no name."""
    leaf = row.leaf if row.leaf != "value" else ""
    times = (row.first_call_s, row.second_call_s, row.torch_s)
    return (row.case, row.quantity, row.measured or leaf, row.error_f64, row.noise_f32, row.verdict, *times)


def _judged(row: Row) -> Judged:
    """Return a row as a test case."""
    seconds = sum(time or 0.0 for time in (row.first_call_s, row.second_call_s, row.torch_s))
    numbers = {"error_f64": row.error_f64, "noise_f32": row.noise_f32, "leaf": row.leaf, "measured": row.measured}
    figures = "\n".join(f"{name}: {value}" for name, value in numbers.items() if value not in (None, ""))
    group = f"jaxgrad.verify.{row.case}"
    return Judged(group, row.quantity, row.verdict, seconds, row.reason, row.traceback or row.reason, figures)


def _count(count: int, noun: str) -> str:
    """Return ``1 case`` or ``2 cases``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
