"""Measured figures stand in JSON: a table of them outside of a block that a command writes is found here."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts),
]
# the text of the house is the same on every JAX
pytestmark = pytest.mark.either_lane

UNIT = r"(?:ms|us|s|seconds|min|KiB|MiB|GiB|MB|GB|dB|decibels|FLOPs|x)\b|%"
FIGURE = re.compile(rf"\d\.\d|\d ?(?:{UNIT})|\+-")
NUMBER = re.compile(r"[-+]?[\d,]+")
WRITTEN = re.compile(r"<!-- (bench \w+: |cases:begin)[^\n]*-->\n.*?<!-- (/bench|cases:end)[^\n]*-->", re.DOTALL)
TABLE = re.compile(r"(?:^ *\|[^\n]*\n){2,}", re.MULTILINE)

GENERATED = {
    "docs/causes.md": "written from the catalogue, and compared by tests/verify/port/test_diagnosis_catalogue.py",
    "docs/optimizers.md": "written by bench/_optax_table.py, and compared by tests/meta/test_audit.py",
}
# tables with numbers that nobody measured: bounds that tests hold, sizes, constants, values of a derivative
DEFINITIONS = {
    "docs/inr.md": [
        "where | what is computed | error",
        "network | between the layers | options | drawn at the start | parameters",
        "picture file | is read as",
    ],
    "docs/multi_loss.md": ["rule | TorchJD | here"],
    "docs/nth.md": [
        "function | rule returns | second derivative here | in `curvature`, `jax.hessian`",
        "function | where JAX's nested jvp is wrong | here",
    ],
    "docs/shift.md": ["you want | take | gradients"],
}


def cells(line):
    """Return the cells of a line of a table; a bar behind a backslash is no border."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def measured(text):
    """Return the heads of the tables of a page that hold measured figures, and that no command writes.

    A figure is a number with decimals, a spread or a unit, or a whole number whose column or line has a unit. What
    is code is no figure.
    """
    found = []
    for table in TABLE.findall(WRITTEN.sub("", text)):
        head, _, *lines = [cells(line) for line in table.splitlines()]
        for line in lines:
            for name, cell in zip(head, line, strict=False):
                plain = re.sub(r"`[^`]*`", "", cell)
                unit = re.search(rf"\b(?:{UNIT})", f"{name} {line[0]}")
                if FIGURE.search(plain) or (unit and NUMBER.fullmatch(plain)):
                    found.append(" | ".join(head))
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_measured_figures_come_from_results(page):
    name = str(page.relative_to(ROOT))
    if name in GENERATED:
        return
    typed = [head for head in measured(page.read_text()) if head not in DEFINITIONS.get(name, [])]
    assert typed == [], "put the figures into bench/results/experiments.json; python -m bench tables --write"


def test_every_exception_is_needed():
    found = {name: measured((ROOT / name).read_text()) for name in DEFINITIONS}
    assert {name: [head for head in heads if head not in found[name]] for name, heads in DEFINITIONS.items()} == {
        name: [] for name in DEFINITIONS
    }
    assert all((ROOT / name).exists() for name in GENERATED)


@pytest.mark.parametrize(
    ("cell", "seen"),
    [
        *[
            (cell, True)
            for cell in ("0.431", "2 +- 1", "12 ms", "3s", "20%", "9x", "48 MiB", "> 120 dB", "4 (1.2 to 5)")
        ],
        *[(cell, False) for cell in ("1 + d", "`x = 0.5`", "2", "k + 1", "1e-8 added to lengths", "order 2, 3 shifts")],
    ],
)
def test_a_typed_figure_is_seen(cell, seen):
    table = f"text\n\n| what | how |\n|---|---|\n| a row | {cell} |\n"
    assert measured(table) == (["what | how"] if seen else [])
    assert measured(f"<!-- bench rows: full.json nth -->\n{table}<!-- /bench -->\n") == []


@pytest.mark.parametrize(("head", "name"), [("seconds", "a row"), ("how", "a row, ms")])
def test_a_unit_may_stand_apart_from_its_number(head, name):
    assert measured(f"| what | {head} |\n|---|---|\n| {name} | 119 |\n") == [f"what | {head}"]
