"""The commands that use curvature: each runs at a tiny size, prints and draws; wrong usage gets a sentence."""

import subprocess
import sys

import jax
import pytest
import typer
from typer.testing import CliRunner

import bench.gauss_newton
import bench.influence
import bench.landscape
import bench.laplace
from bench._command import picture_at
from tests.cli.processes import ENVIRONMENT, PLANT

# the commands compile programs of their own, for which the fast machine code is not worth its time
pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("compiled_quickly")]


@pytest.fixture(autouse=True)
def _as_in_a_process_of_its_own():
    """The tests are stricter than JAX is by itself; optax's schedules multiply counts by numbers."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


COMMANDS = {
    "influence": (
        bench.influence.main,
        "--models 4 --seeds 1 --train 16 --test 3 --steps 3 --products 2",
        ["4 halves of 16 digits x 1 seeds = 4 networks retrained", "EKFAC over gradient dot"],
    ),
    "laplace": (
        bench.laplace.main,
        "--train 16 --test 12 --steps 3",
        ["16 training and 12 test digits", "the evidence picks decay"],
    ),
    "landscape": (
        bench.landscape.main,
        "--train 16 --test 8 --steps 3 --products 8 --probes 2 --points 3",
        ["after training: loss", "plane of 3 x 3 points"],
    ),
}


def app(main):
    command = typer.Typer(add_completion=False)
    command.command()(main)
    return command


@pytest.mark.parametrize(
    "name", ["laplace", *(pytest.param(name, marks=pytest.mark.slow) for name in ("influence", "landscape"))]
)
def test_a_command_in_small(name, tmp_path):
    main, arguments, said = COMMANDS[name]
    done = CliRunner().invoke(app(main), [*arguments.split(), "--picture", str(tmp_path / "a.png")])
    assert done.exit_code == 0, done.output
    assert all(text in done.stdout for text in said), done.stdout
    assert (tmp_path / "a.png").stat().st_size > 5000


@pytest.mark.slow
def test_gauss_newton_in_small(tmp_path):
    arguments = ["--steps", "10", "--points", "8", "--picture", str(tmp_path / "a.png")]
    done = CliRunner().invoke(app(bench.gauss_newton.main), arguments)
    assert done.exit_code == 0, done.output
    assert "Levenberg-Marquardt: 10 steps" in done.stdout
    assert (tmp_path / "a.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("main", "arguments", "message"),
    [
        (bench.influence.main, "--train 15", "bench.influence: --train must be even, so that it has halves; got 15"),
        (bench.influence.main, "--models 1", "--models"),
        (bench.influence.main, "--train 4000", "there are 1797 digits, fewer than the 4000 + 100"),
        (bench.laplace.main, "--picture no/such/x.png", "bench.laplace: cannot write no/such/x.png"),
        (bench.laplace.main, "--picture /proc/x.png", "bench.laplace: cannot write /proc/x.png: "),
        (bench.laplace.main, f"--picture {'a' * 300}.png", "a.png: File name too long"),
        (bench.laplace.main, "--picture .", "bench.laplace: cannot write .: it is a directory"),
        (bench.landscape.main, "--decay -1", "--decay"),
        (bench.landscape.main, "--decay inf", "--decay"),
        (bench.landscape.main, "--probes 99999999999999999999999", "--probes"),
        (bench.gauss_newton.main, "--steps 1", "--steps"),
        (bench.gauss_newton.main, "--points 99999999999999999999999", "--points"),
    ],
)
def test_wrong_usage(main, arguments, message):
    done = CliRunner().invoke(app(main), arguments.split())
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_picture_is_there_as_a_whole_or_as_it_was(tmp_path):
    path = tmp_path / "a.PNG"
    path.write_bytes(b"old")

    def fails(*_):
        message = "of the artist"
        raise ValueError(message)

    with pytest.raises(ValueError, match="of the artist"), picture_at(path, 1, 1) as figure:
        figure.draw = fails
    assert path.read_bytes() == b"old"
    with picture_at(path, 1, 1):
        pass
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "planted",
    [
        pytest.param("os.fsync = interrupt", id="while the picture is written"),
        pytest.param("sys.meta_path.insert(0, type('', (), {'find_spec': interrupt}))", id="at the imports"),
    ],
)
def test_an_interrupt_is_one_line_and_leaves_nothing_half_written(planted, tmp_path):
    """As `python -m` runs a command; what stands in front plants the moment of the interrupt."""
    lines = f"""
import bench
{planted}
from bench._command import picture_at
from pathlib import Path
with picture_at(Path({str(tmp_path / "a.png")!r}), 1, 1):
    pass
"""
    start = "import sys\nsys.argv[0] = '-m'\n" + PLANT.format(plant=lines)
    done = subprocess.run(
        [sys.executable, "-c", start], capture_output=True, text=True, env=ENVIRONMENT, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
    assert not any(tmp_path.iterdir())
