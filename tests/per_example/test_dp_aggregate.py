"""`per_example.dp_aggregate`: the clipped mean without noise, the noise's size, and its place in a chain."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgrad.per_example import clipped_sum, dp_aggregate
from tests.bridge import assert_parity
from tests.problems import mean_square, regression

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def transformation(key, **changes):
    settings = {"clip_norm": 0.5, "noise_multiplier": 0.0, "expected_batch_size": 7.0, "key": key, **changes}
    return dp_aggregate(mean_square, **settings)


def test_without_noise_it_hands_the_clipped_mean_to_a_chain(key):
    problem = regression()
    chain = optax.chain(transformation(key), optax.scale(-1.0))
    state = chain.init(problem.params)
    update, state = jax.jit(chain.update)(problem.params, state, problem.params, batch=problem.data)
    total, info = clipped_sum(mean_square, problem.params, *problem.data, clip_norm=0.5)
    assert_parity(update, jax.tree.map(lambda g: -np.asarray(g) / 7, total))
    assert_parity(state[0].info._asdict(), info._asdict())


def test_noise_has_its_size_and_is_new_in_every_step(key):
    params, batch = jnp.zeros(20000), (jnp.zeros((2, 20000)),)
    private = dp_aggregate(lambda w, x: w @ x, clip_norm=0.5, noise_multiplier=3.0, expected_batch_size=2.0, key=key)
    step = jax.jit(private.update)
    first, state = step(None, private.init(params), params, batch=batch)
    second, _ = step(None, state._replace(info=None), params, batch=batch)
    assert abs(jnp.std(first) - 0.75) < 0.02
    assert abs(jnp.mean(first * second)) < 0.02


def test_rejects_negative_noise_and_no_batch_size(key):
    with pytest.raises(ValueError, match="noise_multiplier must not be negative"):
        transformation(key, noise_multiplier=-1.0)
    with pytest.raises(ValueError, match="expected_batch_size must be positive"):
        transformation(key, expected_batch_size=0.0)
