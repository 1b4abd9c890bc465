"""`reptile_gradient` against torch, gradient descent, and the adapted parameters."""

import jax
import jax.numpy as jnp
import optax
import pytest

import torch_ref.meta
from jaxgrad import _tree
from jaxgrad.meta import adapt, reptile_gradient
from tests.bridge import assert_parity
from tests.meta.tasks import (
    OPTIMIZERS,
    PARAMS,
    PARAMS_TORCH,
    STATE,
    STATE_TORCH,
    STEPPED,
    STEPPED_TORCH,
    SUPPORT,
    centred,
    centred_torch,
)
from tests.problems import mean_square
from tests.turns import one_in

SGD, ADAM = OPTIMIZERS["sgd"][0], OPTIMIZERS["adam"][0]


@pytest.mark.parametrize("chunk", one_in(2, [None, 2], 1))
def test_matches_torch(chunk):
    """Minibatches of every step, and a state that is carried from one to the next."""
    ours, theirs = OPTIMIZERS["momentum"]
    shared = {"num_steps": 5, "per_step": True, "statistics": "carried"}
    got = reptile_gradient(centred, PARAMS, STEPPED, optimizer=ours, state=STATE, chunk=chunk, **shared)
    options = {"optimizer": theirs, "state": STATE_TORCH, **shared}
    assert_parity(got, torch_ref.meta.reptile_gradient(centred_torch, PARAMS_TORCH, STEPPED_TORCH, **options))


def test_one_step_of_gradient_descent_is_its_gradient_times_the_rate():
    got = reptile_gradient(mean_square, PARAMS, SUPPORT, optimizer=SGD, num_steps=1)
    flat = [leaf.reshape(-1, leaf.shape[-1]) for leaf in SUPPORT]
    assert_parity(got, _tree.scale(jax.jit(jax.grad(mean_square))(PARAMS, *flat), 0.1))


def test_a_step_against_it_leads_to_the_mean_of_the_adapted_parameters():
    got = reptile_gradient(mean_square, PARAMS, SUPPORT, optimizer=ADAM, num_steps=3)
    fast = [adapt(mean_square, PARAMS, _tree.take(SUPPORT, t), optimizer=ADAM, num_steps=3) for t in range(3)]
    mean = jax.tree.map(lambda *leaves: sum(leaves) / 3, *fast)
    assert_parity(optax.apply_updates(PARAMS, _tree.scale(got, -1.0)), mean)


def test_no_steps_and_held_leaves_give_zero():
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    assert_parity(reptile_gradient(mean_square, PARAMS, SUPPORT, optimizer=SGD, num_steps=0), zeros)
    got = reptile_gradient(mean_square, PARAMS, SUPPORT, optimizer=SGD, num_steps=1, wrt="layer1")
    assert_parity(got["layer0"], zeros["layer0"])
    assert jnp.all(got["layer1"]["weight"] != 0)


def test_rejects_tasks_that_do_not_line_up():
    with pytest.raises(ValueError, match=r"(?s)same leading axis:.*support\[1\]: got float64\[2,4,1\]"):
        reptile_gradient(mean_square, PARAMS, (SUPPORT[0], SUPPORT[1][:2]), optimizer=SGD, num_steps=1)
    with pytest.raises(ValueError, match="there are no tasks"):
        reptile_gradient(mean_square, PARAMS, tuple(leaf[:0] for leaf in SUPPORT), optimizer=SGD, num_steps=1)
