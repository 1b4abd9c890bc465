"""`step_gradient`: through one step and with the step held constant, against torch and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import torch_ref.meta
from jaxgrad.meta import maml_gradient, step_gradient
from tests.bridge import assert_parity
from tests.meta.tasks import OPTIMIZERS, PARAMS, PARAMS_TORCH, QUERY, QUERY_TORCH
from tests.problems import mean_square, mean_square_torch
from tests.turns import covering

SGD = optax.sgd(0.1)


@pytest.mark.parametrize(("name", "truncated"), covering(OPTIMIZERS, [False, True]))
def test_matches_torch(name, truncated):
    ours, theirs = OPTIMIZERS[name]
    got = step_gradient(mean_square, PARAMS, *QUERY, optimizer=ours, truncated=truncated)
    want = torch_ref.meta.step_gradient(
        mean_square_torch, PARAMS_TORCH, *QUERY_TORCH, optimizer=theirs, truncated=truncated
    )
    assert_parity(got, want)


def foo(params, x):
    return jnp.sum((params["W"] ** 2) @ x)


W = np.array([[1.0289456844329834, 0.9332138299942017]])
X = np.array([-0.04671746864914894, 0.5176782011985779])


@pytest.mark.parametrize(
    ("truncated", "power", "printed"),
    [(False, 2, [-0.09794442574189435, 0.7764921976194867]), (True, 1, [-0.0970377540949514, 0.8661718552058463])],
)
def test_closed_form_and_printed_numbers(truncated, power, printed):
    got = step_gradient(foo, {"W": jnp.asarray(W)}, jnp.asarray(X), optimizer=SGD, truncated=truncated)
    assert_parity(got, {"W": (1 - 0.2 * X) ** power * 2 * W * X})
    assert_parity(got, {"W": np.array([printed])})


def test_is_maml_with_one_task_and_one_step():
    got = step_gradient(mean_square, PARAMS, *QUERY, optimizer=SGD)
    task = tuple(leaf[None] for leaf in QUERY)
    assert_parity(got, maml_gradient(mean_square, PARAMS, task, task, optimizer=SGD, num_steps=1))


@pytest.mark.parametrize("truncated", [False, True])
def test_wrt_masks_the_gradient(truncated):
    full = step_gradient(mean_square, PARAMS, *QUERY, optimizer=SGD, truncated=truncated)
    got = step_gradient(mean_square, PARAMS, *QUERY, optimizer=SGD, truncated=truncated, wrt="layer1")
    assert_parity(got, {"layer0": jax.tree.map(jnp.zeros_like, full["layer0"]), "layer1": full["layer1"]})


def test_a_rate_of_zero_gives_the_plain_gradient():
    got = step_gradient(mean_square, PARAMS, *QUERY, optimizer=optax.sgd(0.0))
    assert_parity(got, jax.grad(mean_square)(PARAMS, *QUERY))


def test_rejects_what_is_no_optimizer():
    with pytest.raises(TypeError, match="optimizer must be an optax transformation"):
        step_gradient(foo, {"W": jnp.asarray(W)}, jnp.asarray(X), optimizer="sgd")


def test_rejects_a_loss_that_is_no_scalar():
    with pytest.raises(ValueError, match=r"loss_fn must return a scalar.*float64\[1\]"):
        step_gradient(lambda p, x: (p["W"] ** 2) @ x, {"W": jnp.asarray(W)}, jnp.asarray(X), optimizer=SGD)
