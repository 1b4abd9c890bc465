"""`multi_loss.init_states`: a state a leaf, beside torch's empty one."""

import functools

import jax.numpy as jnp
import optax
import pytest
import torch

import torch_ref.multi_loss
from jaxgrad.multi_loss import init_states
from jaxgrad.verify.cases.families._multi_loss import adam_states, adam_states_torch
from tests.bridge import assert_parity
from tests.multi_loss.heads import heads


def test_matches_torch_before_the_first_step():
    problem = heads()
    ours = init_states(optax.adam(1e-3), problem.params)
    theirs = torch_ref.multi_loss.init_states(functools.partial(torch.optim.Adam, lr=1e-3), problem.params_torch)
    assert_parity(adam_states(problem.params, ours), adam_states_torch(problem.params_torch, theirs))


def test_every_leaf_has_a_state_of_its_own():
    states = init_states(optax.sgd(0.1, momentum=0.9), {"a": jnp.ones(3), "b": jnp.ones((2, 2), jnp.float32)})
    assert states["a"][0].trace.shape == (3,)
    assert states["b"][0].trace.dtype == jnp.float32


def test_rejects_what_is_no_optimizer():
    with pytest.raises(TypeError, match=r"optimizer must be an optax transformation.*got a float"):
        init_states(0.1, jnp.ones(3))
