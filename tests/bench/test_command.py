"""``python -m bench``: what it prints and writes, and what wrong usage gets."""

import contextlib
import dataclasses
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest
from typer.testing import CliRunner

from bench import _record, _session
from bench.__main__ import app
from bench._row import Contender, Problem, Program, Row
from tests.bench.own_rows import QUICK, as_torch, breaks, doubled, give, small_row

ROOT = Path(__file__).parents[2]

# the benchmark sets torch's threads before anything else
pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fog"], "bench: unknown family fog; the families are gradient"),
        (["gradent"], "bench: unknown family gradent; did you mean gradient? The families are"),
        (["curvature", "--row", "zzz"], "bench: no row contains 'zzz'; `python -m bench list` shows them"),
        (["curvature", "--row", "fisher_prod_uct"], "did you mean fisher_product"),
        (["--device", "tpu"], "bench: JAX finds no tpu on this machine (it has: cpu)"),
        (["--device", "abacus"], "bench: --device takes cpu, gpu, tpu; got 'abacus'"),
        (["--dtype", "int8"], "bench: --dtype takes float32, float64, bfloat16; got 'int8'"),
        (["gradient", "--out", "/proc/none/here"], "bench: cannot write to /proc/none/here"),
        (["--rounds", "1"], "--rounds"),
        (["--unknown"], "--unknown"),
        (["gradient", "--resume"], "bench: --resume goes on with the result in a directory: give --out DIR"),
        (["list", "nht"], "bench list: unknown family nht; did you mean nth?"),
        (["gradient", "--threads", "4096"], "bench: --threads takes at most"),
        (["compare", "a", "b", "--threshold", "inf"], "bench compare: --threshold takes a number such as 0.05"),
        (["compare", "a", "b", "--threshold", "nan"], "--threshold"),
        (["compare", "a", "b", "--threshold", "-1"], "--threshold"),
        (["tables", "--root", "/proc/none"], "bench tables: no document in /proc/none has a table of ours"),
        (["check", "nth", "--write", "--costs", "/proc/none/a.json"], "bench check: cannot write /proc/none/a.json"),
    ],
)
def test_wrong_usage(arguments, message):
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dry_run_and_the_list_name_the_sizes_that_would_run():
    small = CliRunner().invoke(app, ["gradient", "--quick", "--dry-run"])
    assert small.exit_code == 0
    assert "gradient.parameter_gradient: MLP 64-128-10, batch 32\n" in small.stdout
    assert small.stdout.endswith("gradient.parameter_gradient over width: 32, 64, 128\n")
    full = CliRunner().invoke(app, ["list", "gradient"])
    assert "gradient.parameter_gradient: MLP 784-512-512-10, batch 256\n" in full.stdout


IN_A_FRESH_PROCESS = """
import runpy
import bench._preload
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized(), "importing the rows has started a device: it cannot be forked"
runpy.run_module("bench", run_name="__main__", alter_sys=True)
"""


def test_a_quick_row_writes_a_table_and_results_in_a_process_of_its_own(tmp_path):
    arguments = ["gradient", "--row", "jacobian", "--quick", "--rounds", "3", "--no-scaling", "--out", str(tmp_path)]
    command = [sys.executable, "-c", IN_A_FRESH_PROCESS, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "torch.func" in done.stdout
    record = json.loads((tmp_path / "results.json").read_text())
    (row,) = record["rows"]
    assert row["key"] == "gradient.jacobian: MLP 8-16-2, batch 4"
    assert row["sizes"] == {"mlp": [8, 16, 2], "batch": 4}
    assert row["agreement"]["float64_error"] < 1e-10
    assert record["environment"]["flags"]["jax_default_matmul_precision"] == "highest"
    assert record["environment"]["flags"]["torch_tf32"] is False
    assert {"trace_s", "lower_s", "compile_s", "warm_compile_s", "flops", "bytes"} <= set(row["contenders"][0])
    assert row["contenders"][0]["cache"] == "hit"


@pytest.fixture
def rows(monkeypatch):
    """Let the benchmark have rows of the test's own."""
    return functools.partial(give, monkeypatch)


def test_what_breaks_is_told_and_costs_the_others_nothing(tmp_path, rows):
    broken = dataclasses.replace(small_row("broken", as_torch), build=breaks)
    rows(broken, small_row("wrong", lambda x: as_torch(x) + 1), small_row("lame", breaks), small_row("good", as_torch))
    done = CliRunner().invoke(app, [*QUICK, "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert "gradient.broken: 3 numbers: TypeError: no such network" in done.stderr
    assert "gradient.wrong: 3 numbers: the contenders do not agree, so their times mean nothing" in done.stderr
    assert "rival did not run: TypeError: no such network" in done.stdout
    record = json.loads((tmp_path / "results.json").read_text())
    assert [row["name"] for row in record["rows"]] == ["lame", "good"]
    assert record["rows"][0]["absent"] == {"rival": "TypeError: no such network"}
    assert record["rows"][0]["best_rival"] is None
    assert [one["key"] for one in record["failed"]] == ["gradient.broken: 3 numbers", "gradient.wrong: 3 numbers"]


def test_a_row_is_weighed_while_the_next_is_judged_and_no_row_goes_lost(tmp_path, rows, monkeypatch):
    seen = []

    class Peaks:
        def __init__(self, cache):
            assert Path(cache).is_dir()

        @contextlib.contextmanager
        def weighing(self, asked):
            seen.append([(one["key"].partition(":")[0], one["contender"]) for one in asked])
            yield {one["contender"]: 7 for one in asked if one["contender"] != "rival"}

    monkeypatch.setattr(_session, "Peaks", Peaks)
    rows(small_row("good", as_torch), small_row("wrong", lambda x: as_torch(x) + 1), small_row("last", as_torch))
    done = CliRunner().invoke(app, [*QUICK, "--memory", "--out", str(tmp_path)])
    assert done.exit_code == 1
    record = json.loads((tmp_path / "results.json").read_text())
    assert [(row["name"], [c["peak_bytes"] for c in row["contenders"]]) for row in record["rows"]] == [
        ("good", [7, None]),
        ("last", [7, None]),
    ]
    good, last = ([(f"gradient.{name}", who) for who in ("jaxgrad", "rival")] for name in ("good", "last"))
    # before the first row nothing waits; the one that is refused is judged all the same; the last one waits for none
    assert seen == [[], good, [], last]


def test_a_row_may_be_compared_at_other_sizes_than_it_is_timed(tmp_path, rows):
    sizes = []

    def build(size):
        sizes.append((size.count, size.dtype.name))
        x = jnp.ones(size.count, size.dtype)
        ours = Contender("jaxgrad", "jax", lambda: doubled(x), Program(doubled, (x,)))
        return Problem([ours, Contender("again", "jax", lambda: doubled(x))])

    rows(Row("sized", "{count} numbers", build, {"count": 5}, judged={"count": 2}))
    done = CliRunner().invoke(app, ["gradient", "--rounds", "3", "--no-scaling", "--no-memory", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.stderr
    (row,) = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert (row["label"], row["agreement"]["at"]) == ("5 numbers", "2 numbers")
    assert "the contenders were compared at other sizes: 2 numbers" in done.stdout
    assert sizes == [(5, "float32"), (2, "float32"), (2, "float64")]


def test_a_contender_that_cannot_run_stays_with_its_reason(rows):
    rows(small_row("good", as_torch, absent={"opacus": "not installed"}))
    done = CliRunner().invoke(app, QUICK)
    assert done.exit_code == 0
    assert "opacus did not run: not installed" in done.stdout


def test_a_full_disk_ends_the_run_and_the_old_result_stays(tmp_path, rows, monkeypatch):
    (tmp_path / "results.json").write_text("old")
    rows(small_row("good", as_torch))

    def full(path, record):
        message = f"could not write {path}: No space left on device; the old file is unchanged"
        raise OSError(message)

    monkeypatch.setattr(_session._results, "save", full)
    done = CliRunner().invoke(app, [*QUICK, "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert "No space left on device; the old file is unchanged" in done.stderr
    assert (tmp_path / "results.json").read_text() == "old"


def test_a_run_that_was_broken_off_goes_on_with_what_is_left(tmp_path, rows):
    again = [*QUICK, "--out", str(tmp_path), "--resume"]
    rows(small_row("one", as_torch), dataclasses.replace(small_row("two", as_torch), build=breaks))
    assert CliRunner().invoke(app, again).exit_code == 1
    rows(
        small_row("zero", as_torch),
        dataclasses.replace(small_row("one", as_torch), build=breaks),
        small_row("two", as_torch),
    )
    done = CliRunner().invoke(app, again)
    assert done.exit_code == 0, done.stderr
    record = json.loads((tmp_path / "results.json").read_text())
    assert [row["name"] for row in record["rows"]] == ["zero", "one", "two"]
    assert record["failed"] == []
    assert len(record["run"]["parts"]) == 2
    assert record["run"]["seconds"] == pytest.approx(sum(part["seconds"] for part in record["run"]["parts"]))
    # rows that are not asked for now are kept
    rows(small_row("zero", as_torch), small_row("one", as_torch), small_row("new", as_torch))
    assert CliRunner().invoke(app, [*again, "--row", "new"]).exit_code == 0
    record = json.loads((tmp_path / "results.json").read_text())
    assert [row["name"] for row in record["rows"]] == ["zero", "one", "two", "new"]
    other = CliRunner().invoke(app, [*again, "--threads", "1", "--dtype", "float64"])
    assert other.exit_code == 2
    assert "results.json is of another run: threads 2 there, 1 here" in other.stderr
    assert "dtype float32 there, float64 here" in other.stderr


def test_a_part_of_a_run_keeps_what_failed_before_and_says_which_commit_is_kept(tmp_path, rows, monkeypatch):
    monkeypatch.setattr(_record, "commit", lambda: "first")
    command = [*QUICK, "--out", str(tmp_path)]
    broken = dataclasses.replace(small_row("broken", as_torch), build=breaks)
    rows(small_row("one", as_torch), broken)
    assert CliRunner().invoke(app, command).exit_code == 1
    monkeypatch.setattr(_record, "commit", lambda: "second")
    rows(small_row("one", as_torch), broken, small_row("two", as_torch))
    done = CliRunner().invoke(app, [*command, "--resume", "--row", "two"])
    assert done.exit_code == 0, done.stderr
    assert "what is kept is of commit first; this is second" in done.stderr
    record = json.loads((tmp_path / "results.json").read_text())
    assert [row["name"] for row in record["rows"]] == ["one", "two"]
    assert [one["key"] for one in record["failed"]] == ["gradient.broken: 3 numbers"]
    assert "commit first, second" in (tmp_path / "report.html").read_text()


def test_the_commit_is_that_of_the_code_that_runs(tmp_path, rows, monkeypatch):
    expected = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    monkeypatch.chdir(tmp_path)
    assert _record.commit() == expected.stdout.strip()
    # another commit while the run goes on is none of its own
    commits = iter(["first", "second", "third"])
    monkeypatch.setattr(_record, "commit", lambda: next(commits))
    rows(small_row("one", as_torch), small_row("two", as_torch))
    assert CliRunner().invoke(app, [*QUICK, "--out", "run"]).exit_code == 0
    record = json.loads((tmp_path / "run" / "results.json").read_text())
    assert record["environment"]["commit"] == record["run"]["parts"][0]["commit"] == "first"


def test_a_place_where_the_report_cannot_be_is_told_before_the_run(tmp_path, rows):
    (tmp_path / "report.html").mkdir()
    rows(small_row("one", as_torch))
    done = CliRunner().invoke(app, [*QUICK, "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert "report.html: it is a directory" in done.stderr
    assert not (tmp_path / "results.json").exists()


def test_a_family_that_is_named_twice_runs_once():
    done = CliRunner().invoke(app, ["list", "gradient", "gradient"])
    lines = done.stdout.splitlines()
    assert len(lines) == len(set(lines)) > 0


THREADS = """
import os, pathlib, runpy
from bench import _session

def run(self, *_):
    import jax.numpy as jnp
    import torch
    jnp.ones((512, 512)).sum().block_until_ready()
    tasks = pathlib.Path("/proc/self/task")
    cores = {len(os.sched_getaffinity(int(t.name))) for t in tasks.iterdir() if "XLA" in (t / "comm").read_text()}
    print("cores", cores, "torch", torch.get_num_threads())

_session.Session.run = run
runpy.run_module("bench", run_name="__main__", alter_sys=True)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="Linux alone tells")
def test_threads_count_for_xla_which_starts_them_with_its_device():
    command = [sys.executable, "-c", THREADS, "gradient", "--quick", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "cores {1}" in done.stdout


def test_a_platform_that_is_not_there_is_told_in_a_line():
    command = [sys.executable, "-m", "bench", "gradient", "--quick", "--dry-run"]
    env = {**os.environ, "JAX_PLATFORMS": "tpu"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=env)
    assert done.returncode == 2
    assert "bench: JAX finds no device at all: " in done.stderr
    assert "Traceback" not in done.stderr
