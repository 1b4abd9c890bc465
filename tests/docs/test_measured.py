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
    "docs/causes.md": "written by the package's catalogue, which tests/verify/test_catalogue.py compares it with",
    "docs/optimizers.md": "written by bench/_optax_table.py, which tests/meta/test_audit.py compares it with",
}
DEFINITIONS: dict[str, list[str]] = {}


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
