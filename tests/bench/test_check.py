"""The check of costs: what the programs of the rows compute and keep is what is committed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from typer.testing import CliRunner

from bench import _check, _phases, _rows
from bench.__main__ import app
from bench._row import Contender, Problem, Program, Row

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.torch


def bench_check(*arguments):
    """Run the check as users do: the tests have other flags of XLA, which are other costs."""
    env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, "-m", "bench", "check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=env)


@pytest.mark.parametrize("which", ["--quick", pytest.param("--full", marks=pytest.mark.slow)])
def test_rows_cost_what_is_committed(which):
    done = bench_check(which)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 differences" in done.stdout or "nothing to compare here" in done.stdout


def product(size):
    x = jnp.ones((size.side, size.side), size.dtype)
    return Problem([Contender("jaxgrad", "jax", lambda: x @ x, Program(lambda a: a @ a, (x,)))])


@pytest.fixture
def rows(monkeypatch):
    def given(**sizes):
        own = [Row(name, "{side}", product, {"side": side}) for name, side in sizes.items()]
        monkeypatch.setattr(_rows, "rows_of", lambda family: own if family == "gradient" else [])

    return given


def check(path, *more):
    return CliRunner().invoke(app, ["check", "--no-forms", "--costs", str(path), *more])


def test_what_has_changed_is_named_and_leaves_with_1(tmp_path, rows):
    path = tmp_path / "costs.json"
    rows(a=8, b=8, gone=8)
    assert check(path, "--write").exit_code == 0
    assert "3 rows compiled, 0 differences" in check(path).stdout
    record = json.loads(path.read_text())
    # what nobody compares is not committed
    assert set(record["costs"]["gradient.a: 8"]) == set(_check.TIGHT)
    record["costs"]["gradient.a: 8"]["flops"] -= 24
    path.write_text(json.dumps(record))
    rows(a=8, b=8, new=4)
    done = check(path)
    assert done.exit_code == 1
    assert "gradient.a: 8: flops 1000 -> 1024, 1.02 times" in done.stdout
    assert "gradient.new: 4: has no committed costs" in done.stdout
    assert "gradient.gone: 8: is no row any more" in done.stdout
    assert "python -m bench check --write" in done.stdout


def test_a_row_can_be_committed_alone(tmp_path, rows):
    path = tmp_path / "costs.json"
    rows(a=8, b=8)
    check(path, "--write")
    rows(a=8, b=8, c=4)
    assert check(path, "--write", "--row", "gradient.c").exit_code == 0
    assert set(json.loads(path.read_text())["costs"]) == {"gradient.a: 8", "gradient.b: 8", "gradient.c: 4"}


def test_a_row_that_breaks_is_told_and_the_others_are_compared(tmp_path, rows):
    path = tmp_path / "costs.json"
    rows(a=8)
    check(path, "--write")
    rows(a=8, broken=-1)
    done = check(path)
    assert done.exit_code == 1
    assert "gradient.broken: -1: " in done.stdout
    assert "1 rows compiled, 1 differences" in done.stdout


def test_another_version_of_xla_has_nothing_to_compare_with(tmp_path, rows):
    path = tmp_path / "costs.json"
    rows(a=8)
    check(path, "--write")
    path.write_text(path.read_text().replace(jax.__version__, "0.0.1"))
    done = check(path)
    assert done.exit_code == 0
    assert "made with jax 0.0.1" in done.stdout
    assert "nothing to compare here" in done.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema"', "is no JSON, or was cut short"),
        ('{"schema": "x"}', "is no costs of python -m bench check, of version 1"),
        ('{"schema": "jaxgrad-bench-costs", "version": 1}', "is damaged: it has no costs"),
        (
            '{"schema": "jaxgrad-bench-costs", "version": 1, "made_with": {}, "costs": {"a": 5}}',
            "is damaged: the file, costs, a is int, expected object",
        ),
        (None, "cannot read"),
    ],
)
def test_a_file_that_holds_no_costs_is_refused(tmp_path, text, message):
    path = tmp_path / "costs.json"
    if text is not None:
        path.write_text(text)
    done = check(path)
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_temporary_may_differ_by_an_alignment_and_an_operation_by_nothing():
    now = {"flops": 100.0, "bytes": 1000.0, "temporary_bytes": 5000, "collective_bytes": 0}
    assert _check.differences("a", now | {"temporary_bytes": 5900, "bytes": 1009.0}, now) == []
    assert _check.differences("a", now | {"flops": 100.5}, now) == ["a: flops 100.5 -> 100, 0.995 times"]
    assert _check.differences("a", now | {"temporary_bytes": 50_000}, now) != []
    assert _check.differences("a", now | {"flops": None}, now) == ["a: flops None -> 100.0"]


def test_collective_bytes_are_those_of_the_sum_over_devices():
    devices = jax.devices()[:4]
    mesh = Mesh(devices, "i")
    split = NamedSharding(mesh, PartitionSpec("i"))
    whole = NamedSharding(mesh, PartitionSpec())
    x = jax.device_put(jnp.ones((4, 33), jnp.float32), split)
    program = jax.jit(lambda a: a.sum(0), out_shardings=whole).lower(x).compile()
    assert _phases.cost_of(program).collective_bytes == 33 * 4
    assert (
        _phases.collective_bytes("a = (f32[2,3], bf16[4]) all-reduce-start(b)\nc = f8e4m3fn[5]{0} all-reduce(d)") == 37
    )
    assert _phases.cost_of(jax.jit(lambda a: a + 1).lower(jnp.ones(3)).compile()).collective_bytes == 0


def test_the_committed_costs_are_of_the_pinned_versions():
    """Under other versions the check compares nothing, and says so: it would pass for ever."""
    made = json.loads(_check.COSTS.read_text())["made_with"]
    pinned = dict(re.findall(r"^(jax|jaxlib)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert {name: made[name] for name in pinned} == pinned
    assert len(pinned) == 2
    assert made["platform"] == "cpu"
    assert made["XLA_FLAGS"] == ""


def test_a_part_is_not_written_among_costs_of_another_version(tmp_path, rows):
    path = tmp_path / "costs.json"
    rows(a=8, b=8)
    check(path, "--write")
    old = path.read_text().replace(jax.__version__, "0.0.1")
    path.write_text(old)
    done = check(path, "--write", "--row", "gradient.a")
    assert done.exit_code == 2
    assert "made with jax 0.0.1" in done.stderr
    assert path.read_text() == old
    assert check(path, "--write").exit_code == 0
    assert "2 rows compiled, 0 differences" in check(path).stdout


def test_a_row_that_breaks_is_not_called_gone(tmp_path, rows):
    path = tmp_path / "costs.json"
    rows(a=8, broken=8)
    check(path, "--write")
    path.write_text(path.read_text().replace("broken: 8", "broken: -1"))
    rows(a=8, broken=-1)
    done = check(path)
    assert done.exit_code == 1
    assert "gradient.broken: -1: " in done.stdout
    assert "is no row any more" not in done.stdout


def test_a_full_disk_leaves_the_old_costs(tmp_path, rows, monkeypatch):
    path = tmp_path / "costs.json"
    rows(a=8)
    check(path, "--write")
    old = path.read_text()

    def full(path, record):
        message = f"could not write {path}: No space left on device; the old file is unchanged"
        raise OSError(message)

    monkeypatch.setattr(_check._results, "write", full)
    done = check(path, "--write")
    assert done.exit_code == 1
    assert done.stderr == f"bench check: could not write {path}: No space left on device; the old file is unchanged\n"
    assert path.read_text() == old
