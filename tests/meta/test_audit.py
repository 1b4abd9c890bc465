"""The page about optax's transformations: a row for each, and each row is what the command finds."""

from pathlib import Path

from bench import optimizers
from bench._optax_table import table, transformations

PAGE = Path(__file__).parents[2] / "docs" / "optimizers.md"
LINES = optimizers.lines_of(PAGE.read_text())


def test_every_transformation_of_optax_has_a_row():
    made = {name.split(",")[0] for name in table()}
    assert transformations() - made == set(), "new in optax: give them a row in bench/_optax_table.py"
    assert len(made) > 100


def test_the_page_is_what_the_command_writes():
    assert optimizers.page_of(LINES) == PAGE.read_text()
    assert set(table()) <= set(LINES), "write python -m bench.optimizers --write docs/optimizers.md --missing"
