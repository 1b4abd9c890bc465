"""`smoothness` against torch; yes where training is smooth, no where it is chaotic or falls apart; what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import torch_ref.meta
from jaxgrad.meta import smoothness
from tests.bridge import assert_parity
from tests.meta.tasks import OPTIMIZERS, PARAMS, PARAMS_TORCH
from tests.meta.test_data_weights import (
    EXAMPLES,
    EXAMPLES_TORCH,
    ORDER,
    VALIDATION,
    VALIDATION_TORCH,
    WEIGHTS,
    WEIGHTS_TORCH,
    logistic,
    logistic_regression,
)
from tests.problems import mean_square, mean_square_torch
from tests.turns import one_in

GIVEN = mean_square, PARAMS, EXAMPLES, ORDER, VALIDATION
GIVEN_TORCH = mean_square_torch, PARAMS_TORCH, EXAMPLES_TORCH, ORDER, VALIDATION_TORCH
SGD, SGD_TORCH = OPTIMIZERS["sgd"]


@pytest.mark.parametrize("along", ["the gradient", pytest.param("a line", marks=pytest.mark.slow)])
def test_matches_torch(along):
    line = None if along == "the gradient" else np.array([1.0, -1.0, 0.5, 0.0, 2.0, -0.3, 1.0])
    got = smoothness(*GIVEN, optimizer=SGD, weights=WEIGHTS, direction=line)
    options = {"weights": WEIGHTS_TORCH, "direction": None if line is None else WEIGHTS_TORCH.new_tensor(line)}
    want = torch_ref.meta.smoothness(*GIVEN_TORCH, optimizer=SGD_TORCH, **options)
    assert_parity(got[:3], want[:3])
    assert bool(got.trusted) == want.trusted


def test_trusts_a_convex_training():
    train, test, slope = logistic_regression()
    ridge = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(1.0))
    order = np.tile(np.arange(40), (200, 1))
    found = smoothness(logistic, {"w": jnp.zeros(3)}, train, order, test, optimizer=ridge)
    assert found.trusted
    assert found.smoothness > 0.99
    assert_parity(found.predicted, -0.1 * (slope @ slope) / jnp.abs(slope).max())
    np.testing.assert_allclose(found.predicted, found.actual, rtol=0.1)


def margin(params, x, y):
    """Return the logistic loss of a tanh network on one example."""
    return jnp.logaddexp(0.0, -y * (params["b"] @ jnp.tanh(params["a"] @ x)))


@jax.jit
def at_rate(rate):
    """Say how smooth 300 steps on the whole batch are, at a learning rate."""
    rng = np.random.default_rng(0)
    params = {"a": rng.normal(size=(8, 3)), "b": rng.normal(size=8)}
    x = rng.normal(size=(12, 3))
    data, order = (x, np.sign(np.sin(3 * x[:, 0]))), np.tile(np.arange(12), (300, 1))
    given = margin, params, data, order, tuple(leaf[:5] for leaf in data)
    return smoothness(*given, optimizer=optax.sgd(rate))


@pytest.mark.parametrize("rate", one_in(2, [1.0, 3.0, 5.0]))
def test_trusts_small_steps(rate):
    found = at_rate(rate)
    assert found.trusted
    assert found.smoothness > 0.99
    assert found.actual < 0


@pytest.mark.parametrize("rate", one_in(3, [10.0, 20.0, 40.0, 80.0]))
def test_trusts_no_chaotic_training(rate):
    """Beyond the edge of stability the losses stay finite, and the gradient is exact and says nothing."""
    found = at_rate(rate)
    assert all(jnp.isfinite(number) for number in found)
    assert not found.trusted
    # below what is trusted; the number itself is that of a chaotic training, and another with every version of XLA
    assert found.smoothness < 0.5


def test_trusts_no_training_that_falls_apart():
    found = at_rate(1e308)
    assert not jnp.isfinite(found.actual)
    assert not found.trusted


@pytest.mark.slow
def test_a_direction_of_zeros_tries_nothing():
    assert not smoothness(*GIVEN, optimizer=SGD, direction=jnp.zeros(7)).trusted


@pytest.mark.slow
def test_training_that_does_not_move_along_the_line():
    found = smoothness(*GIVEN[:3], ORDER[:0], VALIDATION, optimizer=SGD, direction=jnp.ones(7))
    assert_parity(found[:3], (jnp.array(1.0), jnp.array(0.0), jnp.array(0.0)), tolerance=0.0)
    assert found.trusted


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"direction": np.ones(6)}, ValueError, r"direction must be one number for each of the 7 .*got float64\[6\]"),
        ({"direction": np.ones(7, int)}, TypeError, r"direction.*floating-point"),
        ({"step": "small"}, TypeError, "step is the string 'small'"),
        ({"step": np.ones(2)}, ValueError, "step must be one number"),
    ],
)
def test_rejects(options, error, message):
    with pytest.raises(error, match=message):
        smoothness(*GIVEN, optimizer=SGD, **options)


def test_rejects_an_index_outside_of_the_examples():
    with pytest.raises(ValueError, match=r"indices\[0, 0\] is 7, which is no example"):
        smoothness(*GIVEN[:3], np.array([[7]]), VALIDATION, optimizer=SGD)
