"""The commands that learn to learn: in small, going on after kill -9 as if nothing had been, and wrong usage."""

import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import bench.few_shot
import bench.sinusoid
from bench._resume import Run

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("compiled_quickly")]


@pytest.fixture(autouse=True)
def _as_in_a_process_of_its_own():
    """The tests are stricter than JAX is by itself."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def run(main, *arguments):
    command = typer.Typer(add_completion=False)
    command.command()(main)
    return CliRunner().invoke(command, list(map(str, arguments)))


@pytest.mark.slow
def test_sinusoid_in_small(tmp_path):
    done = run(bench.sinusoid.main, "--thousands", 1, "--test", 8, "--picture", tmp_path / "a.png")
    assert done.exit_code == 0, done.output
    assert "1,000 meta-steps; error on 8 new waves" in done.stdout
    assert (tmp_path / "a.png").stat().st_size > 5000


@pytest.mark.slow
def test_few_shots_in_small(tmp_path):
    small = ["--steps", 100, "--seeds", 1, "--test", 4, "--folder", tmp_path / "run"]
    done = run(bench.few_shot.main, *small, "--picture", tmp_path / "a.png")
    assert done.exit_code == 0, done.output
    assert all(name in done.stdout for name in bench.few_shot.METHODS)
    assert (tmp_path / "a.png").stat().st_size > 5000
    # a finished run is read, and not computed again
    again = run(bench.few_shot.main, *small)
    tables = [[line for line in out.stdout.splitlines() if "%" in line] for out in (done, again)]
    assert tables[0] == tables[1]


@pytest.mark.slow
def test_goes_on_after_kill_as_if_nothing_had_been(tmp_path):
    """The weights and the optimizer's state after three blocks are equal bit by bit."""

    def start(folder):
        words = [sys.executable, "-m", "bench.sinusoid", "--thousands", "3", "--test", "4", "--folder", str(folder)]
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    killed = start(tmp_path / "killed")
    while not (tmp_path / "killed" / "steps" / "1").exists() and killed.poll() is None:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    for name in ("killed", "whole"):
        assert start(tmp_path / name).wait() == 0
    params = bench.sinusoid.first_params(jax.random.key(0))
    like = {"state": (params, bench.sinusoid.OUTER.init(params)), "curve": np.zeros(3, np.float32)}
    both = [Run("bench.sinusoid", tmp_path / name, {"seed": 0}).at(3, like) for name in ("killed", "whole")]
    same = jax.tree.map(lambda a, b: np.asarray(a).tobytes() == np.asarray(b).tobytes(), *both)
    assert all(jax.tree.leaves(same))


def test_keeps_and_restores(tmp_path):
    state = {"w": np.arange(3.0), "count": np.array(7)}
    kept = Run("bench.x", tmp_path / "run", {"seed": 0})
    assert kept.last() == 0
    kept.keep(1, state)
    kept.keep(2, jax.tree.map(lambda leaf: leaf + 1, state))
    again = Run("bench.x", tmp_path / "run", {"seed": 0})
    assert again.last() == 2
    restored = again.at(2, state)
    assert np.array_equal(restored["w"], state["w"] + 1)
    assert restored["count"] == 8


def test_refuses_the_folder_of_another_run(tmp_path, capsys):
    Run("bench.x", tmp_path / "run", {"seed": 0})
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "else.txt").write_text("")
    for folder, message in (
        ("run", "holds a checkpoint of another run: seed 0 there, 1 here"),
        ("file", "is a file; name a folder"),
        ("full", "is not empty, and holds no run of this command"),
    ):
        with pytest.raises(typer.Exit):
            Run("bench.x", tmp_path / folder, {"seed": 1})
        assert message in capsys.readouterr().err
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(typer.Exit):
        Run("bench.x", tmp_path / "run", {"seed": 0})
    assert "its run.json cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "MALM"], "there is no method 'MALM'; the methods are MAML, first order, ANIL"),
        (["--steps", "150"], "--steps 150 is no multiple of 100"),
        (["--picture", "nowhere/a.png"], "there is no directory nowhere"),
        (["--picture", "a.xyz"], "a picture ends with one of"),
    ],
)
def test_wrong_usage(arguments, message):
    done = run(bench.few_shot.main, *arguments)
    assert done.exit_code == 2
    assert message in done.output
