"""``python -m bench``: what it prints and writes, and what wrong usage gets."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench import _rows
from bench.__main__ import app

ROOT = Path(__file__).parents[2]

# the benchmark sets torch's threads before anything else
pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fog"], "bench: unknown family fog; the families are gradient"),
        (["curvature", "--row", "zzz"], "bench: no row contains 'zzz'"),
        (["curvature", "--output", "no/such/dir/x.json"], "there is no directory no/such/dir"),
        (["--rounds", "1"], "--rounds"),
        (["--unknown"], "--unknown"),
    ],
)
def test_wrong_usage(arguments, message):
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_quick_row_writes_a_table_and_json(tmp_path):
    arguments = [
        "gradient",
        "--row",
        "parameter_gradient",
        "--quick",
        "--rounds",
        "3",
        "--output",
        str(tmp_path / "r.json"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert "torch.func" in done.stdout
    text = (tmp_path / "r.json").read_text()
    assert '"commit"' in text
    assert '"ours_over_best_rival"' in text


def test_a_row_that_breaks_is_told_and_costs_the_others_nothing(tmp_path, monkeypatch):
    good = _rows.rows_of("gradient")[0]

    def breaks(quick):
        del quick
        message = "no such network\nand more"
        raise TypeError(message)

    broken = dataclasses.replace(good, sizes="broken", build=breaks)
    monkeypatch.setattr(_rows, "rows_of", lambda family: [broken, good] if family == "gradient" else [])
    done = CliRunner().invoke(app, ["gradient", "--quick", "--rounds", "3", "--output", str(tmp_path / "r.json")])
    assert done.exit_code == 1
    assert "broken: TypeError: no such network" in done.stderr
    assert [row["sizes"] for row in json.loads((tmp_path / "r.json").read_text())["rows"]] == [good.sizes]
