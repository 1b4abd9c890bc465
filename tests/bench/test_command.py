"""``python -m bench``: wrong usage is told in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def bench(*arguments):
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


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
    done = bench(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_quick_row_writes_a_table_and_json(tmp_path):
    done = bench("curvature", "--row", "hvp", "--quick", "--rounds", "3", "--output", str(tmp_path / "r.json"))
    assert done.returncode == 0, done.stderr
    assert "torch_ref" in done.stdout
    text = (tmp_path / "r.json").read_text()
    assert '"commit"' in text
    assert '"ours_over_best_rival"' in text
