"""The command that trains with SAM on digits: in small, and wrong usage."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import bench.sam_digits
from bench.sam_digits import CLASSES, drawn, labels, network

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("compiled_quickly")]


@pytest.fixture(autouse=True)
def _as_in_a_process_of_its_own():
    """The tests are stricter than JAX is by itself."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def run(*arguments):
    command = typer.Typer(add_completion=False)
    command.command()(bench.sam_digits.main)
    return CliRunner().invoke(command, list(map(str, arguments)))


@pytest.mark.slow
def test_in_small(tmp_path):
    small = ["--steps", 50, "--seeds", 2, "--train", 50, "--test", 20, "--products", 8]
    done = run(*small, "--picture", tmp_path / "a.png")
    assert done.exit_code == 0, done.output
    assert all(name in done.stdout for name in bench.sam_digits.METHODS)
    assert "50 digits, 20% of them with a wrong label; 50 steps; 2 seeds; 20 test digits" in done.stdout
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_the_convolution_is_that_of_jax():
    """A kernel of 3 x 3, rows first and then columns, zeros beyond the border."""
    params = drawn(0)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 1)))
    kernel = params["first"]["kernel"].reshape(3, 3, 1, -1)
    want = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    got = bench.sam_digits.convolved(x, **params["first"])
    assert np.allclose(got, want, atol=1e-5)
    assert network(params, x.reshape(2, 64)).shape == (2, CLASSES)


def test_a_wrong_label_is_never_the_right_one():
    y = np.arange(100) % CLASSES
    assert (np.asarray(labels(y, 0.3, 0)) != y).sum() == 30
    assert np.array_equal(labels(y, 0.3, 1), labels(y, 0.3, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "SMA"], "there is no method 'SMA'; the methods are SGD, SAM, ASAM, exact SAM"),
        (["--steps", "70"], "--steps 70 is no multiple of 50"),
        (["--train", "1700"], "there are 1797 digits, fewer than the 1700 + 1000"),
        (["--picture", "nowhere/a.png"], "there is no directory nowhere"),
    ],
)
def test_wrong_usage(arguments, message):
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in done.output
