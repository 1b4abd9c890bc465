"""`meta.adapt` against torch and a closed form; what it differentiates; what it refuses."""

import jax
import jax.numpy as jnp
import optax
import pytest

import torch_ref.meta
from jaxgrad import _tree
from jaxgrad.meta import adapt
from tests.bridge import assert_parity, to_jax
from tests.meta.tasks import OPTIMIZERS, PARAMS, PARAMS_TORCH, SUPPORT, SUPPORT_TORCH
from tests.problems import mean_square, mean_square_torch

TASK, TASK_TORCH = _tree.take(SUPPORT, 0), tuple(leaf[0] for leaf in SUPPORT_TORCH)
SGD = OPTIMIZERS["sgd"][0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_matches_torch(name):
    ours, theirs = OPTIMIZERS[name]
    got = adapt(mean_square, PARAMS, TASK, optimizer=ours, num_steps=3)
    want = torch_ref.meta.adapt(mean_square_torch, PARAMS_TORCH, TASK_TORCH, optimizer=theirs, num_steps=3)
    assert_parity(got, want)


def quadratic(params, matrix):
    return 0.5 * params["w"] @ matrix @ params["w"]


MATRIX = jnp.array([[2.0, 0.5], [0.5, 1.0]])


@pytest.mark.parametrize("steps", [0, 1, 1000])
def test_closed_form_of_a_quadratic(steps):
    start = {"w": jnp.array([1.0, -2.0])}
    got = adapt(quadratic, start, MATRIX, optimizer=SGD, num_steps=steps)
    power = jnp.linalg.matrix_power(jnp.eye(2) - 0.1 * MATRIX, steps)
    assert_parity(got, {"w": power @ start["w"]}, tolerance=1e-10 if steps < 1000 else 1e-9)


def test_program_does_not_grow_with_the_steps():
    def size(steps):
        return str(
            jax.make_jaxpr(lambda w: adapt(quadratic, w, MATRIX, optimizer=SGD, num_steps=steps))({"w": MATRIX[0]})
        )

    assert len(size(10_000)) - len(size(2)) < 10


def test_derivative_with_respect_to_the_learning_rate():
    def after(rate):
        return adapt(quadratic, {"w": MATRIX[0]}, MATRIX, optimizer=optax.sgd(rate), num_steps=2)["w"]

    step = jnp.eye(2) - 0.1 * MATRIX
    assert_parity(jax.jit(jax.jacrev(after))(0.1), -2 * MATRIX @ step @ MATRIX[0])
    assert_parity(jax.jit(jax.jacfwd(after))(0.1), -2 * MATRIX @ step @ MATRIX[0])


def test_derivative_with_respect_to_the_data():
    def after(target):
        return adapt(lambda p, t: 0.5 * (p["w"] - t) ** 2, {"w": jnp.array(0.0)}, target, optimizer=SGD, num_steps=3)[
            "w"
        ]

    assert_parity(jax.grad(after)(jnp.array(2.0)), 1 - 0.9**3)


def test_only_the_chosen_leaves_move():
    got = adapt(mean_square, PARAMS, TASK, optimizer=OPTIMIZERS["adam"][0], num_steps=2, wrt="layer1")

    def of_head(head, *data):
        return mean_square({"layer0": PARAMS["layer0"], "layer1": head}, *data)

    want = adapt(of_head, PARAMS["layer1"], TASK, optimizer=OPTIMIZERS["adam"][0], num_steps=2)
    assert_parity(got, {"layer0": PARAMS["layer0"], "layer1": want})


def test_optimizers_that_ask_for_the_value():
    got = adapt(quadratic, {"w": jnp.array([1.0, -2.0])}, MATRIX, optimizer=optax.polyak_sgd(), num_steps=50)
    assert quadratic(got, MATRIX) < 1e-4


def test_data_other_than_a_tuple_is_one_argument():
    def loss(params, task):
        return mean_square(params, task["x"], task["y"])

    got = adapt(loss, PARAMS, {"x": TASK[0], "y": TASK[1]}, optimizer=SGD, num_steps=1)
    assert_parity(got, adapt(mean_square, PARAMS, TASK, optimizer=SGD, num_steps=1))


def test_keeps_low_precision():
    params = to_jax(PARAMS, jnp.bfloat16)
    got = adapt(mean_square, params, to_jax(TASK, jnp.bfloat16), optimizer=OPTIMIZERS["adam"][0], num_steps=2)
    assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize(
    ("steps", "error", "message"),
    [
        (-1, ValueError, "num_steps must be at least 0; got -1. 0 leaves the parameters as they are"),
        (2.0, TypeError, "num_steps must be a Python integer"),
        (True, TypeError, "num_steps must be a Python integer"),
        (jnp.array(2), TypeError, "num_steps must be known when the function is traced"),
    ],
)
def test_rejects_a_wrong_number_of_steps(steps, error, message):
    with pytest.raises(error, match=message):
        adapt(mean_square, PARAMS, TASK, optimizer=SGD, num_steps=steps)


def test_rejects_a_traced_number_of_steps():
    with pytest.raises(TypeError, match="num_steps must be known when the function is traced"):
        jax.jit(lambda k: adapt(mean_square, PARAMS, TASK, optimizer=SGD, num_steps=k))(2)


def test_rejects_a_learning_rate_in_place_of_an_optimizer():
    with pytest.raises(TypeError, match=r"optimizer must be an optax transformation.*optax\.sgd\(1e-2\); got a float"):
        adapt(mean_square, PARAMS, TASK, optimizer=0.1, num_steps=1)


def test_rejects_a_loss_that_is_no_scalar():
    with pytest.raises(ValueError, match=r"loss_fn must return a scalar.*float64\[4,1\]"):
        adapt(lambda p, x, y: (x @ p["w"] - y) ** 2, {"w": jnp.ones((2, 1))}, TASK, optimizer=SGD, num_steps=1)


@pytest.mark.parametrize(
    ("params", "message"),
    [({"w": jnp.arange(3)}, r"params\['w'\]: got int64\[3\]"), ({}, "params has no differentiable leaves")],
)
def test_rejects_params_without_a_derivative(params, message):
    with pytest.raises((TypeError, ValueError), match=message):
        adapt(lambda p: 0.0, params, (), optimizer=SGD, num_steps=1)
