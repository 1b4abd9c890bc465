"""``python -m bench.data_weights``: what it prints and keeps, how it goes on, and what wrong usage gets."""

import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from typer.testing import CliRunner

import bench.data_weights
from tests.bench.test_uses import app

ROOT = Path(__file__).parents[2]
SIZES = "--networks 1 --train 20 --validation 5 --test 10 --steps 3 --batch 4"

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("compiled_quickly")]


def invoke(arguments, *more):
    """Run the command as in a process of its own: the tests are stricter than JAX is by itself."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"), jax.enable_x64(False):
        return CliRunner().invoke(app(bench.data_weights.main), [*arguments.split(), *map(str, more)])


@pytest.mark.slow
def test_in_small_and_once_more_from_what_is_kept(tmp_path):
    folder = tmp_path / "run"
    first = invoke(f"--seeds 2 {SIZES}", "--folder", folder, "--picture", tmp_path / "a.png")
    assert first.exit_code == 0, first.output
    assert "20 digits, 10% of the labels flipped; 2 seeds x 1 networks of 3 steps" in first.stdout
    assert all(f"  {name:17} " in first.stdout for name in bench.data_weights.WITHOUT)
    assert (tmp_path / "a.png").stat().st_size > 5000
    again = invoke(f"--seeds 2 {SIZES}", "--folder", folder)
    assert again.stdout == first.stdout
    other = invoke(f"--seeds 2 {SIZES} --steps 4", "--folder", folder)
    assert other.exit_code == 2
    assert "holds a checkpoint of another run: steps 3 there, 4 here" in other.stderr


@pytest.mark.slow
def test_a_killed_command_goes_on(tmp_path):
    command = [sys.executable, "-m", "bench.data_weights", *SIZES.split(), "--seeds", "3", "--folder"]
    killed, settings = tmp_path / "killed", {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    running = subprocess.Popen([*command, str(killed)], cwd=ROOT, env=settings, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 240
    while not (killed / "steps" / "1").exists() and time.monotonic() < deadline and running.poll() is None:
        time.sleep(0.01)
    assert running.poll() is None, "it was done before it could be killed"
    running.kill()
    running.communicate()
    runs = [
        subprocess.run([*command, str(folder)], cwd=ROOT, env=settings, capture_output=True, check=True)
        for folder in (killed, tmp_path / "whole")
    ]
    assert runs[0].stdout == runs[1].stdout


def test_order_is_made_of_shufflings():
    order = bench.data_weights.orders_of(np.array([3, 5, 8, 9]), 2, 3, 4, np.random.default_rng(0))
    assert order.shape == (2, 3, 4)
    assert all(sorted(row) == [3, 5, 8, 9] for row in order.reshape(6, 4).tolist())
    assert (order[0] != order[1]).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--train 4000", "there are 1797 digits, fewer than the 4000 + 1200"),
        ("--flipped 0.9", "--flipped"),
        ("--picture no/such/x.png", "bench.data_weights: cannot write no/such/x.png"),
    ],
)
def test_wrong_usage(arguments, message):
    done = invoke(arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    done = invoke("--seeds 1", "--folder", tmp_path)
    assert done.exit_code == 2
    assert "is not empty, and holds no run of this command; name a new folder" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]
