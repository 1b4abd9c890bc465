"""`evolution_gradient` against torch with the same shifts, without bias over the windows, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import torch_ref.meta
from jaxgrad.meta import evolution_gradient
from tests.bridge import assert_parity, to_jax, to_torch
from tests.meta.tasks import OPTIMIZERS

SGD, SGD_TORCH = OPTIMIZERS["sgd"]
rng = np.random.default_rng(0)
START, HYPER = {"w": rng.normal(size=3)}, {"target": rng.normal(size=3), "pull": np.array(0.7)}
DATA = rng.normal(size=(4, 3))
SHIFTS = [{"target": 0.1 * rng.normal(size=(5, 3)), "pull": 0.1 * rng.normal(size=5)} for _ in range(2)]


def inner(params, hyper, x):
    return (
        0.5 * ((x @ params["w"]) ** 2).mean() + 0.5 * hyper["pull"] ** 2 * ((params["w"] - hyper["target"]) ** 2).sum()
    )


def outer(params, hyper, x):
    return (x @ params["w"]).sum() ** 2 + hyper["pull"] * params["w"][0]


def test_two_windows_match_torch():
    params, hyper, data, shifts = to_jax((START, HYPER, DATA, SHIFTS))
    want = torch_ref.meta.evolution_gradient(
        inner, outer, *to_torch((START, HYPER, DATA, DATA)), optimizer=SGD_TORCH, num_steps=2, scale=0.1,
        samples=to_torch(SHIFTS),
    )  # fmt: skip
    state = None
    for window, estimate in zip(shifts, want, strict=True):
        options = {"optimizer": SGD, "num_steps": 2, "scale": 0.1, "samples": window, "state": state}
        found = evolution_gradient(inner, outer, params, hyper, data, data, **options)
        assert_parity(found.estimate, estimate)
        state = found.state


def pull(w, rate):
    """A step of size 1 moves w by rate: after k steps of a constant rate it is k rate, whatever its start."""
    return -w * rate


def itself(w, rate):
    return w


def over_windows(persistent):
    """Return the sum over three windows of the estimates and of their squared errors."""
    total, variance, state = 0.0, 0.0, None
    for key in jax.random.split(jax.random.key(0), 3):
        options = {"optimizer": optax.sgd(1.0), "num_steps": 2, "scale": 0.5, "key": key, "num_samples": 2000}
        found = evolution_gradient(pull, itself, jnp.array(0.0), jnp.array(0.3), (), (), state=state, **options)
        total, variance = total + found.estimate, variance + found.standard_error**2
        state = found.state if persistent else found.state._replace(shifts=jnp.zeros_like(found.state.shifts))
    return float(total), float(variance) ** 0.5


def test_windows_add_up_without_bias():
    """The outer losses are 2, 4 and 6 times the rate: 12; with the shifts of one window alone it would be 2 + 2 + 2."""
    total, error = over_windows(persistent=True)
    assert abs(total - 12) < 4 * error < 6
    total, error = over_windows(persistent=False)
    assert abs(total - 6) < 4 * error < 3


def test_hyper_parameters_of_the_optimizer():
    """The derivative of (1 - rate)^2 w by the rate, smoothed; the quadratic has no third derivative to smooth away."""
    options = {"num_steps": 2, "scale": 1e-3, "samples": jnp.array([1e-3, -1e-3])}
    found = evolution_gradient(
        lambda w, rate: 0.5 * w**2, itself, jnp.array(2.0), jnp.array(0.1), (), (), optimizer=optax.sgd, **options
    )
    assert_parity(found.estimate, -2 * 0.9 * 2.0, tolerance=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0.0, "key": jax.random.key(0), "num_samples": 2}, "scale must be positive"),
        ({"scale": 1.0}, "give key and num_samples, or the shifts"),
        ({"scale": 1.0, "samples": np.ones((2, 3))}, r"samples\[0\]"),
        ({"scale": 1.0, "samples": np.ones(2), "num_samples": 2}, "without key and num_samples"),
        ({"scale": 1.0, "samples": np.ones(2), "num_steps": 0}, "num_steps must be at least 1"),
    ],
)
def test_rejects(options, message):
    given = {"optimizer": SGD, "num_steps": 1, **options}
    with pytest.raises(ValueError, match=message):
        evolution_gradient(pull, itself, jnp.array(0.0), jnp.array(0.3), (), (), **given)


@pytest.mark.parametrize(
    ("inner", "outer", "message"),
    [
        (pull, lambda w, target: target**2, "outer_loss does not depend on params"),
        (lambda w, target: 0.5 * w**2, itself, "inner_loss does not depend on hyper"),
    ],
)
def test_rejects_losses_that_nothing_enters(inner, outer, message):
    given = {"optimizer": SGD, "num_steps": 1, "scale": 1.0, "samples": jnp.ones(2)}
    with pytest.raises(ValueError, match=message):
        evolution_gradient(inner, outer, jnp.array(0.0), jnp.array(0.3), (), (), **given)


def test_takes_an_outer_loss_without_a_derivative():
    """Half of the shifted targets pull the weight above 0: counted, and no slope of it."""
    given = {"optimizer": SGD, "num_steps": 1, "scale": 1.0, "samples": jnp.array([1.0, -1.0])}
    found = evolution_gradient(
        pull, lambda w, _: (w > 0).astype(float), jnp.array(0.0), jnp.array(0.3), (), (), **given
    )
    assert found.value == 0.5
    assert found.estimate == 0.5
