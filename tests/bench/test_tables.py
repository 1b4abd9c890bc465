"""Tables in documents come from results; one that does not is stale."""

import importlib.util
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from bench import _experiments, _results, _tables
from bench.__main__ import app
from tests.bench.recorded import record, row

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.torch

WAVES = {
    "commands": ["python -m bench.sinusoid"],
    "date": "2026-12-02",
    "commit": "abc",
    "machine": "two cores",
    "head": ["steps", "error"],
    "rows": [["1", "0.35"]],
}
EXPERIMENTS = {
    "schema": "jaxgrad-bench-experiments",
    "version": 1,
    "experiments": {"waves": WAVES, "drawn": WAVES | {"commands": []}},
}


def test_no_table_of_the_documents_is_stale():
    assert _tables.documents(ROOT), "README.md has a table of the benchmark"
    stale = [str(path.relative_to(ROOT)) for path in _tables.stale("bench tables", ROOT)]
    assert stale == [], "python -m bench tables --write"


@pytest.fixture
def filled(tmp_path, monkeypatch):
    """Return a function that writes a document with a block, and its text after the command."""
    slow = row("nth", "laplacian, 8 directions at once", "d = 4")
    slow["best_rival"] = {"name": "folx", "ratio": [2.0, 0.9, 4.0], "says": "nothing"}
    _results.save(tmp_path / "full.json", record(row(), slow, row("meta", "maml_gradient by memory", "Adam")))
    (tmp_path / "experiments.json").write_text(json.dumps(EXPERIMENTS))
    monkeypatch.setattr(_tables, "RESULTS", tmp_path)
    monkeypatch.setattr(_tables.written, "__defaults__", (tmp_path,))
    (tmp_path / "docs").mkdir()

    def run(block, *more):
        path = tmp_path / "docs" / "a.md"
        path.write_text(f"before\n{block}\nold\n<!-- /bench -->\nafter\n")
        done = CliRunner().invoke(app, ["tables", "--root", str(tmp_path), *more])
        return done, path.read_text()

    return run


def test_families_are_counted(filled):
    done, text = filled("<!-- bench families: full.json -->", "--write")
    assert done.exit_code == 0
    assert text.startswith(
        "before\n<!-- bench families: full.json -->\na processor, 2 cores, float32, small sizes, jax"
    )
    assert "| `curvature` | 1 | 1 | 0 | 0 | 2.00 |" in text
    assert "| `nth` | 1 | 0 | 0 | 1 | 0.50 |" in text
    assert text.endswith("<!-- /bench -->\nafter\n")
    assert "old" not in text


def test_rows_are_those_of_a_family_or_a_function(filled):
    done, text = filled("<!-- bench rows: full.json curvature nth.laplacian -->", "--write")
    assert done.exit_code == 0
    assert "| hvp: MLP 4-2, batch 8 | 4 | 2.00 | torch.func | 2.00 | 1.82 to 2.22 | 1e+06 | 0.00391 |" in text
    assert "| folx | 0.50 | 0.25 to 1.11 (not decided) |" in text


def test_all_rivals_of_a_row_stand_beside_it(filled):
    done, text = filled("<!-- bench rivals: full.json curvature.hvp -->", "--write")
    assert done.exit_code == 0
    assert "| row | ms | gradients | operations, gradients | temporaries, MiB | torch.func / ours |" in text
    assert "| hvp: MLP 4-2, batch 8 | 4 | 2.00 | 1.00 | 0.00391 | 2.00 (1.82 to 2.22) |" in text


def test_every_contender_of_a_row_has_a_line(filled):
    done, text = filled("<!-- bench contenders: full.json meta.maml_gradient_by_memory -->", "--write")
    assert done.exit_code == 0
    assert "| row | contender | ms | gradients | operations, gradients | temporaries, MiB |" in text
    assert "| maml_gradient by memory: Adam | jaxgrad | 4 | 2.00 | 1.00 | 0.00391 |" in text
    assert "\n|  | torch.func | " in text


def test_an_experiment_says_where_its_figures_come_from(filled):
    done, text = filled("<!-- bench experiment: experiments.json waves drawn -->", "--write")
    assert done.exit_code == 0
    assert "`python -m bench.sinusoid`; two cores; 2026-12-02, commit abc.\n\n| steps | error |\n" in text
    assert "| 1 | 0.35 |\n\nMeasured by hand, by no command kept here; two cores;" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"date": 3}, "waves, date is int, expected string"),
        ({"rows": [["1"]]}, "waves, row ['1']: expected 2 cells"),
        ({"seconds": "3"}, "waves has 'seconds', which no experiment has"),
        ({"rows": [["1", 0.35]]}, "waves, rows[0][1] is float, expected string"),
    ],
)
def test_a_damaged_experiment_is_refused(filled, tmp_path, change, message):
    filled("<!-- bench experiment: experiments.json waves -->")
    damaged = EXPERIMENTS | {"experiments": {"waves": WAVES | change}}
    (tmp_path / "experiments.json").write_text(json.dumps(damaged))
    done = CliRunner().invoke(app, ["tables", "--root", str(tmp_path)])
    assert done.exit_code == 2
    assert f"is damaged: {message}" in done.stderr


def test_an_experiment_without_a_part_is_refused(filled, tmp_path):
    filled("<!-- bench experiment: experiments.json waves -->")
    one = {key: cell for key, cell in WAVES.items() if key != "commit"}
    (tmp_path / "experiments.json").write_text(json.dumps(EXPERIMENTS | {"experiments": {"waves": one}}))
    done = CliRunner().invoke(app, ["tables", "--root", str(tmp_path)])
    assert done.exit_code == 2
    assert "waves has no 'commit'" in done.stderr


def test_committed_experiments_are_shown_and_their_commands_are_there():
    shown = " ".join(path.read_text() for path in _tables.documents(ROOT))
    for name, one in _experiments.load("bench", _tables.RESULTS / "experiments.json").items():
        assert f"<!-- bench experiment: experiments.json {name} -->" in shown
        for command in one["commands"]:
            module, *words = command.removeprefix("python -m ").split()
            assert importlib.util.find_spec(module), command
            assert all((ROOT / word).exists() for word in words if "/" in word), command


def test_fields_are_compared_with_the_best_first(tmp_path):
    record = json.loads((_tables.RESULTS / "fields.json").read_text())
    text = _experiments.of_fields("bench", record, [])
    firsts = [line.split(" | ")[0] for line in text.splitlines()]
    assert firsts[4:6] == ["| spline, muon", "| spline, adam"]
    assert "| spline, muon | 55.6 / 28.8 / 27.3 | 57.3 / 32.6 / 30.5 |" in text
    assert text.splitlines()[-1].startswith("| a perfect fit | > 120 / 29.5 / 27.7 |")
    (tmp_path / "fields.json").write_text(json.dumps(record | {"rows": [{"picture": "astronaut"}]}))
    with pytest.raises(typer.Exit):
        _experiments.load_fields("bench", tmp_path / "fields.json")


def test_a_stale_table_is_named_and_leaves_with_1(filled):
    done, text = filled("<!-- bench families: full.json -->")
    assert done.exit_code == 1
    assert "docs/a.md is stale" in done.stdout.replace("\n", "")
    assert "old" in text


def test_a_table_that_is_up_to_date_stays(filled, tmp_path):
    filled("<!-- bench families: full.json -->", "--write")
    assert CliRunner().invoke(app, ["tables", "--root", str(tmp_path)]).exit_code == 0


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            "<!-- bench fog: full.json -->",
            "there is no table 'fog' for <!-- bench fog: ... -->; there are families, rows, rivals, contenders, "
            "scale, experiment, fields",
        ),
        ("<!-- bench rows: full.json inr -->", "the result has no rows of inr; it has curvature.hvp, meta.maml"),
        ("<!-- bench rows: full.json nth.foo -->", "the result has no rows of nth.foo"),
        ("<!-- bench experiment: experiments.json foo -->", "there is no experiment 'foo'; there are waves, drawn"),
    ],
)
def test_a_block_that_asks_for_what_is_not_there_is_refused(filled, block, message):
    done, text = filled(block, "--write")
    assert done.exit_code == 2
    assert message in done.stderr
    assert "old" in text


def test_a_run_that_is_not_committed_yet_is_said(filled):
    _, text = filled("<!-- bench families: other.json -->", "--write")
    assert "No run is committed as `bench/results/other.json` yet." in text


def test_a_committed_run_names_rows_that_there_are():
    from bench import _rows

    path = _tables.RESULTS / "full.json"
    if not path.exists():
        pytest.skip("no full run is committed")
    known = {_rows.key_of(family, one, False) for family in _rows.FAMILIES for one in _rows.rows_of(family)}
    gone = {one["key"] for one in _results.load("bench", path)["rows"]} - known
    assert gone == set(), "python -m bench --out DIR, and commit its results.json as bench/results/full.json"
