"""`multi_loss.sequential_updates` against torch with Adam, and where it differs from retained updates."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest
import torch

import torch_ref.multi_loss
from jaxgrad import _tree
from jaxgrad.multi_loss import init_states, sequential_updates, simultaneous_updates
from jaxgrad.verify.cases.families._multi_loss import adam_states, adam_states_torch
from tests.bridge import assert_parity
from tests.multi_loss.heads import heads, outputs, outputs_torch

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

ADAM = optax.adam(1e-2)
ADAM_TORCH = functools.partial(torch.optim.Adam, lr=1e-2)


def stacked(params, x):
    return jnp.stack(outputs(params, x))


def stacked_torch(params, x):
    return outputs_torch(params, x)


@pytest.mark.parametrize("losses_fn", [outputs, stacked])
def test_matches_torch_for_two_rounds(losses_fn):
    problem = heads()
    params, states = problem.params, init_states(ADAM, problem.params)
    params_torch = problem.params_torch
    states_torch = torch_ref.multi_loss.init_states(ADAM_TORCH, params_torch)
    for _ in range(2):
        params, states, losses = sequential_updates(losses_fn, params, states, problem.x, optimizer=ADAM)
        params_torch, states_torch, losses_torch = torch_ref.multi_loss.sequential_updates(
            outputs_torch, params_torch, states_torch, problem.x_torch, optimizer=ADAM_TORCH
        )
        assert_parity(list(losses), list(losses_torch))
    assert_parity(params, params_torch)
    assert_parity(adam_states(params, states), adam_states_torch(params_torch, states_torch))


@functools.cache
def sgd(rate):
    return optax.sgd(rate)


def run(update, losses_fn, params, *data, rate=0.1):
    return update(losses_fn, params, init_states(sgd(rate), params), *data, optimizer=sgd(rate))[0]


def test_differs_from_simultaneous_updates_by_the_square_of_the_step():
    problem = heads()

    def gap(rate):
        one, other = (
            run(u, outputs, problem.params, problem.x, rate=rate) for u in (simultaneous_updates, sequential_updates)
        )
        return _tree.norm(jax.tree.map(jnp.subtract, one, other))

    assert gap(1e-3) > 0
    assert abs(gap(1e-3) / gap(5e-4) - 4) < 0.01


def test_agrees_with_simultaneous_updates_where_losses_share_no_leaf():
    params = {"a": jnp.array([1.0, 2.0]), "b": jnp.array([3.0])}

    def losses(p):
        return (p["a"] ** 3).sum(), (p["b"] ** 3).sum()

    assert_parity(run(sequential_updates, losses, params), run(simultaneous_updates, losses, params), tolerance=0.0)


def test_closed_form_of_two_descent_steps():
    """From w: w - r w, then (1 - 2 r) of that, for w^2 / 2 and w^2."""
    got = run(sequential_updates, lambda w: (w**2 / 2, w**2), jnp.array(1.0), rate=0.1)
    assert_parity(got, 0.9 * 0.8)
    assert_parity(run(simultaneous_updates, lambda w: (w**2 / 2, w**2), jnp.array(1.0), rate=0.1), 1 - 0.3)


def test_losses_are_those_where_each_gradient_was_taken():
    w, states = jnp.array(1.0), init_states(sgd(0.1), jnp.array(1.0))
    _, _, losses = sequential_updates(lambda w: {"b": w**2 / 2, "a": w**2 / 2}, w, states, optimizer=sgd(0.1))
    assert_parity(losses, {"a": 0.5, "b": 0.5 * 0.9**2})


def test_an_update_is_differentiable():
    """d/dw of w (1 - r) (1 - 2 r)."""
    assert_parity(jax.grad(lambda w: run(sequential_updates, lambda w: (w**2 / 2, w**2), w))(jnp.array(2.0)), 0.72)
