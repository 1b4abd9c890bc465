"""``python -m bench.fields`` in small: it goes on from its file, draws its picture, and refuses wrong usage."""

import json

import jax
import pytest
import typer
from typer.testing import CliRunner

import bench.fields
from bench.fields import Task

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("compiled_quickly")]

SMALL = ["--size", "8", "--steps", "2", "--points", "8", "--width", "4", "--layers", "2"]


@pytest.fixture(autouse=True)
def _as_in_a_process_of_its_own():
    """The tests are stricter than JAX is by itself."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"), jax.enable_x64(False):
        yield


def run(*arguments):
    command = typer.Typer(add_completion=False)
    command.command()(bench.fields.main)
    return CliRunner().invoke(command, list(map(str, arguments)))


def test_rows_are_kept_and_drawn(tmp_path, monkeypatch):
    out, picture = tmp_path / "a.json", tmp_path / "a.png"
    chosen = ["--models", "siren", "--optimizers", "adam", "--targets", "central", "--output", out]
    done = run(*SMALL, *chosen, "--pictures", "camera", "--picture", picture)
    assert done.exit_code == 0, done.output
    (row,) = json.loads(out.read_text())["rows"]
    assert {name: row[name] for name in Task._fields} == Task("camera", "siren", "adam", "central")._asdict()
    assert row["psnr_affine"] >= row["psnr_mean"] - 1e-3
    assert 20 < row["ceiling"] < 40
    assert picture.stat().st_size > 5000
    monkeypatch.setattr(bench.fields, "fitted", lambda task, _: {**task._asdict(), "failed": "of a test"})
    again = run(*SMALL, *chosen, "--pictures", "camera,coffee")
    assert again.exit_code == 0, again.output
    assert [row["picture"] for row in json.loads(out.read_text())["rows"]] == ["camera", "coffee"]
    other = run(*SMALL[:-1], "3", *chosen)
    assert other.exit_code == 2
    assert "holds a comparison of other settings" in other.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "siren,mlp"], "--models takes some of siren, fourier"),
        (["--pictures", "moon"], "--pictures takes some of astronaut, coffee, chelsea, camera; got 'moon'"),
        (["--match", "hessian"], "--match must be one of value, gradient, laplacian"),
        (["--output", "no/a.json"], "there is no directory no"),
    ],
)
def test_wrong_usage(arguments, message):
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in done.output
