"""``python -m bench`` where PyTorch, an extra, is not installed: what needs it says so, and the rest goes on."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.__main__ import app

ROOT = Path(__file__).parents[2]

# None among the modules is one that cannot be imported
READS = """
import sys
sys.modules["torch"] = None
from typer.testing import CliRunner
from bench.__main__ import app
result = "bench/results/full.json"
for asked in (["compare", result, result], ["report", result, "-o", sys.argv[1]], ["tables"], ["--help"]):
    done = CliRunner().invoke(app, asked)
    print(asked[0], done.exit_code, done.stderr, repr(done.exception) if done.exception else "")
"""


@pytest.mark.parametrize("arguments", [["gradient", "--quick"], ["run"], ["list"], ["check"], ["check", "--write"]])
def test_what_compares_with_torch_says_what_to_install(arguments, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "PyTorch is not installed, and the rows are held against it: pip install -e '.[torch,cli]'" in done.stderr


def test_what_reads_results_needs_none(tmp_path):
    command = [sys.executable, "-c", READS, str(tmp_path / "report.html")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    said = [line.rstrip() for line in done.stdout.splitlines()]
    assert said == ["compare 0", "report 0", "tables 0", "--help 0"], done.stdout + done.stderr
    assert (tmp_path / "report.html").exists()
