"""The page about optax's transformations: a line for each, and each line is what the command finds."""

from pathlib import Path

import jax
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from bench import optimizers
from bench._optax_table import table, transformations

PAGE = Path(__file__).parents[2] / "docs" / "optimizers.md"
LINES = optimizers.lines_of(PAGE.read_text())
NOT_RIGHT = {
    # it takes a gradient of its own, through which what comes back overflows in float16
    "contrib.sam, opaque_mode=True": ("right, right, NaN", "agrees"),
    # there is no derivative
    "contrib.galore": ("NaN", "NaN"),
    "contrib.scale_by_galore": ("NaN", "NaN"),
    # a derivative that optax stops, and central differences do not
    "lbfgs, linesearch=None": ("right", "differs"),
    "scale_by_lbfgs": ("right", "differs"),
    # its steps themselves have three digits in float32, and none in 16 bits
    "contrib.mechanize": ("wrong, wrong, NaN", "agrees"),
}
"""NaN, what optax takes for the derivative, or the rounding of the optimizer's own steps; the page says why."""


def test_every_transformation_of_optax_has_a_row():
    made = {name.split(",")[0] for name in table()}
    assert transformations() - made == set(), "new in optax: give it a row in bench/_optax_table.py"


def test_the_page_is_as_the_command_writes_it():
    assert optimizers.page_of(LINES) == PAGE.read_text()
    assert set(LINES) <= set(table())


def test_the_page_has_every_row():
    assert set(table()) - set(LINES) == set(), "python -m bench.optimizers --write docs/optimizers.md --missing"


@pytest.mark.parametrize("name", table())
@pytest.mark.slow
def test_a_line_is_what_the_command_finds(name, compiled_fully):
    """Compiled in full, as the command does.

    Without its optimisations XLA makes NaN of SM3 in jax 0.10.2: of optax's own two steps, in a scan of
    `jax.checkpoint` that is mapped over one task; jax 0.12 gives the number.
    """
    assert optimizers.line(optimizers.audit(name)) == LINES[name]


def test_every_meta_gradient_is_right_or_refused():
    for name, text in LINES.items():
        *_, meta, differences, note = (cell.strip() for cell in text.strip("|").split("|"))
        refused = meta == "refused" and "; write " in note
        assert refused or (meta, differences) == NOT_RIGHT.get(name, ("right", "agrees")), name


def test_the_judge_knows_a_wrong_gradient():
    exact = np.array([1.0, 2.0])
    factors = {"right": 1 + 1e-5, "wrong": 1.01, "NaN": np.nan}
    found = {name: optimizers._word(exact * factor, exact, 1e-4) for name, factor in factors.items()}
    assert found == {name: name for name in found}


def test_the_judge_draws_the_same_numbers_in_all_precisions():
    key = jax.random.key(0)
    plain = {kind: jax.random.normal(key, (3,), kind) for kind in ("float32", "float64")}
    assert not np.allclose(plain["float32"], plain["float64"], atol=0.01)
    with optimizers.same_draws():
        drawn = {kind: jax.random.normal(key, (3,), kind) for kind in ("float16", "float32", "float64")}
        signs = jax.random.rademacher(key, (9,), "float64")
    assert [array.dtype.name for array in drawn.values()] == list(drawn)
    np.testing.assert_array_equal(drawn["float64"], plain["float32"].astype("float64"))
    np.testing.assert_array_equal(drawn["float16"], plain["float32"].astype("float16"))
    with jax.enable_x64(False):
        np.testing.assert_array_equal(signs, jax.random.rademacher(key, (9,), "float32"))
    assert jax.random.normal(key, (3,), "float64").tolist() == plain["float64"].tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("adamm", "bench.optimizers: there is no adamm in the table; it has adabelief, adadelta"),
        ("--missing", "bench.optimizers: --missing needs --write"),
        ("--write no/such/page.md", "cannot write no/such/page.md"),
    ],
)
def test_wrong_usage(arguments, message):
    command = typer.Typer(add_completion=False)
    command.command()(optimizers.main)
    done = CliRunner().invoke(command, arguments.split())
    assert done.exit_code == 2
    assert message in done.stderr


def test_what_is_written_keeps_the_other_lines(tmp_path, monkeypatch):
    page, command = tmp_path / "page.md", typer.Typer(add_completion=False)
    command.command()(optimizers.main)
    page.write_text(optimizers.page_of({"sgd": "| `sgd` | as it was |"}))
    monkeypatch.setattr(
        optimizers, "audit", lambda name: optimizers.Row(name, ("NaN",), ("a", "b"), ("right",), "", "n")
    )
    before = jax.config.read("jax_disable_most_optimizations")
    done = CliRunner().invoke(command, ["adam", "sgd", "--missing", "--write", str(page)])
    jax.config.update("jax_disable_most_optimizations", before)
    assert done.exit_code == 0, done.output
    new = "| `adam` | NaN | a, b | right |  | n |"
    assert done.stdout == new + "\n"
    assert page.read_text() == optimizers.page_of({"adam": new, "sgd": "| `sgd` | as it was |"})
