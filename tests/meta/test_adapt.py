"""`meta.adapt` against torch and a closed form; what it differentiates; what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import torch_ref.meta
from jaxgrad import _tree
from jaxgrad.meta import adapt
from tests.bridge import assert_parity, to_jax, to_torch
from tests.meta.tasks import (
    OPTIMIZERS,
    PARAMS,
    PARAMS_TORCH,
    RATES,
    RATES_TORCH,
    STATE,
    STATE_TORCH,
    STEPPED,
    STEPPED_TORCH,
    SUPPORT,
    SUPPORT_TORCH,
    centred,
    centred_torch,
)
from tests.problems import mean_square, mean_square_torch
from torch_ref.meta._adapt import steps as steps_torch

TASK, TASK_TORCH = _tree.take(SUPPORT, 0), tuple(leaf[0] for leaf in SUPPORT_TORCH)
SGD, DESCENT = OPTIMIZERS["sgd"][0], optax.sgd(1.0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_matches_torch(name):
    ours, theirs = OPTIMIZERS[name]
    got = adapt(mean_square, PARAMS, TASK, optimizer=ours, num_steps=3)
    want = torch_ref.meta.adapt(mean_square_torch, PARAMS_TORCH, TASK_TORCH, optimizer=theirs, num_steps=3)
    assert_parity(got, want)


def test_everything_that_the_steps_leave_matches_torch():
    """Data and rates of every step, a state that is carried, aux, an optimizer's state to go on from."""

    def with_aux(params, state, x, y, *, train):
        value, later = centred(params, state, x, y, train=train)
        return value, (later, {"mean": later["mean"], "count": jnp.int8(3)})

    def with_aux_torch(params, state, x, y, *, train):
        value, later = centred_torch(params, state, x, y, train=train)
        return value, (later, {"mean": later["mean"], "count": torch.tensor(3, dtype=torch.int8)})

    ours, theirs = OPTIMIZERS["momentum"]
    shared = {"num_steps": 5, "per_step": True, "statistics": "carried", "has_aux": True}
    trace = jax.tree.map(jnp.sin, PARAMS)
    options = {"learning_rates": RATES, "state": STATE, **shared}
    before = (optax.TraceState(trace), optax.EmptyState())
    data = _tree.take(STEPPED, 0)
    got = adapt(with_aux, PARAMS, data, optimizer=ours, opt_state=before, full_output=True, **options)
    options = {"learning_rates": RATES_TORCH, "state": STATE_TORCH, **shared}
    moments = jax.tree.leaves(to_torch(trace))
    data = tuple(leaf[0] for leaf in STEPPED_TORCH)
    want = steps_torch(with_aux_torch, PARAMS_TORCH, data, optimizer=theirs, opt_state=moments, **options)
    assert_parity(got.params, want.params)
    assert_parity(jax.tree.leaves(got.opt_state), want.opt_state)
    assert_parity([got.losses, got.state], [torch.stack(want.losses), want.state])
    assert_parity(got.aux, {name: torch.stack([row[name] for row in want.aux]) for name in want.aux[0]}, dtypes=True)
    assert got.diverged_at == -1


def test_goes_on_from_an_optimizers_state_as_if_it_had_not_stopped():
    options = {"optimizer": OPTIMIZERS["adam"][0], "full_output": True}
    first = adapt(mean_square, PARAMS, TASK, num_steps=2, **options)
    second = adapt(mean_square, first.params, TASK, num_steps=3, opt_state=first.opt_state, **options)
    whole = adapt(mean_square, PARAMS, TASK, num_steps=5, **options)
    assert_parity(second[:2], whole[:2])
    assert_parity(jnp.concatenate([first.losses, second.losses]), whole.losses)


@pytest.mark.parametrize(
    ("rate", "steps", "where"),
    [(1e200, 4, 1), (1e100, 4, 2), (1.7e308, 1, 1), (1e160, 2, 1), (0.1, 4, -1), (0.1, 0, -1)],
)
def test_says_at_which_step_it_diverged(rate, steps, where):
    """Every step multiplies the parameters by about the rate, and the loss by its square: 1e400 is infinite.

    Of one step alone no loss is left to tell that the parameters are.
    """
    start = {"w": jnp.array([1.0, -2.0])}
    got = adapt(quadratic, start, MATRIX, optimizer=optax.sgd(rate), num_steps=steps, full_output=True)
    assert got.diverged_at == where


def test_a_schedule_is_the_rates_of_the_steps():
    schedule = optax.exponential_decay(0.2, 2, 0.5)
    with jax.numpy_dtype_promotion("standard"):  # optax computes it of an int32, as here, in float32
        rates = jax.vmap(schedule)(jnp.arange(4, dtype=jnp.int32)).astype(jnp.float64)
    got = adapt(mean_square, PARAMS, TASK, optimizer=optax.sgd(schedule), num_steps=4)
    factors = jax.tree.map(lambda leaf: rates.reshape(4, *[1] * leaf.ndim), PARAMS)
    assert_parity(got, adapt(mean_square, PARAMS, TASK, optimizer=DESCENT, num_steps=4, learning_rates=factors))


def test_derivative_by_the_hyper_parameters_in_the_optimizers_state():
    """Two steps on a quadratic: w'' = (1 - a A)^2 w, so that the derivative by the rate a is -2 A (1 - a A) w."""
    rule = optax.inject_hyperparams(optax.sgd)(learning_rate=0.1)
    start = {"w": MATRIX[0]}

    def after(rate, memory):
        state = rule.init(start)
        state = state._replace(hyperparams={**state.hyperparams, "learning_rate": rate})
        return adapt(quadratic, start, MATRIX, optimizer=rule, num_steps=2, opt_state=state, memory=memory)["w"]

    want = -2 * MATRIX @ (jnp.eye(2) - 0.1 * MATRIX) @ MATRIX[0]
    for memory in ("checkpoint", "mixed-mode"):
        assert_parity(jax.jit(jax.jacrev(after), static_argnums=1)(jnp.array(0.1), memory), want)


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
    [({"w": np.arange(3)}, r"params\['w'\]: got int64\[3\]"), ({}, "params has no differentiable leaves")],
)
def test_rejects_params_without_a_derivative(params, message):
    with pytest.raises((TypeError, ValueError), match=message):
        adapt(lambda p: 0.0, params, (), optimizer=SGD, num_steps=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per_step": True}, r"needs a leading axis of num_steps=2 on every leaf of support.*got float64\[4,2\]"),
        ({"memory": "mixed"}, r"memory must be one of"),
        ({"statistics": "batch"}, r"statistics must be one of"),
        ({"learning_rates": {"layer0": 0.1}}, r"(?s)learning_rates must have the structure of params.*layer1.*missing"),
        (
            {"learning_rates": jax.tree.map(lambda leaf: np.ones((3, *leaf.shape)), PARAMS)},
            r"(?s)broadcast against \(num_steps, \*leaf.shape\):.*weight'\]: got .*which does not broadcast to \(2,",
        ),
        ({"state": STATE}, r"train"),
    ],
)
def test_rejects_options_that_do_not_fit(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        adapt(mean_square, PARAMS, TASK, optimizer=SGD, num_steps=2, **options)


def test_rejects_the_state_of_another_optimizer():
    with pytest.raises(ValueError, match="opt_state is no state of this optimizer: a fresh one is"):
        adapt(mean_square, PARAMS, TASK, optimizer=optax.adam(0.1), num_steps=1, opt_state=SGD.init(PARAMS))
