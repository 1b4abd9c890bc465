"""`bench.multi_task`: it runs at a tiny size, prints and draws; wrong usage gets a sentence; its table is whole."""

import jax
import pytest
import typer
from typer.testing import CliRunner

import bench.multi_task
from bench._multi_task_rules import METHODS
from tests.contract.house import is_function, public_functions

# the command compiles programs of its own, for which the fast machine code is not worth its time
pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("compiled_quickly")]

NO_METHOD = {
    "constant_weights": "asks for weights",
    "sum_weights": "the mean in another unit",
    "krum": "chooses among more losses than there are",
    "init_states": "a step of optimizers",
    "sequential_updates": "a step of optimizers",
    "simultaneous_updates": "a step of optimizers",
    **dict.fromkeys(("gradients", "losses_and_gradients", "gram", "backwards"), "under the rules"),
    **dict.fromkeys(("weighted_gradient", "aggregated_gradient", "aggregate"), "take a rule"),
    **dict.fromkeys(("momentum_gradients", "init_momentum"), "a loss a step, under any rule"),
    **dict.fromkeys(("conflicts", "draw_conflicts"), "look, and train nothing"),
}
"""Functions of the family that are no way to train in the table."""


@pytest.fixture(autouse=True)
def _as_in_a_process_of_its_own():
    """The tests are stricter than JAX is by itself."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def invoke(arguments):
    command = typer.Typer(add_completion=False)
    command.command()(bench.multi_task.main)
    return CliRunner().invoke(command, arguments)


@pytest.mark.parametrize(
    ("problem", "methods"),
    [
        ("digits", ["uncertainty"]),
        pytest.param("digits", list(METHODS), marks=pytest.mark.slow),
        pytest.param("heat", list(METHODS), marks=pytest.mark.slow),
    ],
)
def test_a_table_in_small(problem, methods, tmp_path):
    asked = [word for method in methods for word in ("--method", method)]
    done = invoke(["--steps", "2", "--problem", problem, *asked, "--picture", str(tmp_path / "a.png")])
    assert done.exit_code == 0, done.output
    assert f"{problem}: 2 steps by each of {len(methods)} methods" in done.stdout
    assert "nan" not in done.stdout
    assert (tmp_path / "a.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--method adam", "bench.multi_task: there is no method 'adam'; the methods are sum, stch"),
        ("--problem cifar", "bench.multi_task: there is no problem 'cifar'; the problems are digits, heat"),
        ("--steps 75", "bench.multi_task: --steps 75 is no multiple of 50"),
        ("--steps 0", "--steps"),
        ("--picture no/such/x.png", "bench.multi_task: cannot write no/such/x.png"),
    ],
)
def test_wrong_usage(arguments, message):
    done = invoke(arguments.split())
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_every_rule_is_in_the_table():
    names = {
        name.split(".")[1]
        for name, thing in public_functions().items()
        if name.startswith("multi_loss.") and is_function(thing)
    }
    assert names - set(NO_METHOD) == set(METHODS) - {"sum"}
