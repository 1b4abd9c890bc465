"""Tables in documents come from results; one that does not is stale."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench import _results, _tables
from bench.__main__ import app
from tests.bench.recorded import record, row

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.torch


def test_no_table_of_the_documents_is_stale():
    assert _tables.documents(ROOT), "README.md has a table of the benchmark"
    stale = [str(path.relative_to(ROOT)) for path in _tables.stale("bench tables", ROOT)]
    assert stale == [], "python -m bench tables --write"


@pytest.fixture
def filled(tmp_path, monkeypatch):
    """Return a function that writes a document with a block, and its text after the command."""
    slow = row("nth", "laplacian, 8 directions at once", "d = 4")
    slow["best_rival"] = {"name": "folx", "ratio": [2.0, 0.9, 4.0], "says": "nothing"}
    _results.save(tmp_path / "full.json", record(row(), slow))
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
            "there is no table 'fog' for <!-- bench fog: ... -->; there are families, rows, rivals, scale",
        ),
        ("<!-- bench rows: full.json inr -->", "the result has no rows of inr; it has curvature.hvp, nth.laplacian"),
        ("<!-- bench rows: full.json nth.foo -->", "the result has no rows of nth.foo"),
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
