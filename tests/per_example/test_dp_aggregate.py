"""`per_example.dp_aggregate`: the clipped mean without noise, the noise's size, and its place in a chain."""

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxgrad.per_example import clipped_sum, dp_aggregate
from tests.bridge import assert_parity
from tests.problems import mean_square, regression


def transformation(key, **changes):
    settings = {"clip_norm": 0.5, "noise_multiplier": 0.0, "expected_batch_size": 7.0, "key": key, **changes}
    return dp_aggregate(mean_square, **settings)


def test_without_noise_it_is_the_clipped_mean(key):
    problem = regression()
    private = transformation(key)
    update, state = private.update(None, private.init(problem.params), problem.params, batch=problem.data)
    total, info = clipped_sum(mean_square, problem.params, *problem.data, clip_norm=0.5)
    assert_parity(update, jax.tree.map(lambda g: g / 7, total))
    assert_parity(state.info._asdict(), info._asdict())


def test_noise_has_its_size_and_is_new_in_every_step(key):
    params, batch = jnp.zeros(20000), (jnp.zeros((2, 20000)),)
    private = dp_aggregate(lambda w, x: w @ x, clip_norm=0.5, noise_multiplier=3.0, expected_batch_size=2.0, key=key)
    first, state = private.update(None, private.init(params), params, batch=batch)
    second, _ = private.update(None, state, params, batch=batch)
    assert abs(jnp.std(first) - 0.75) < 0.02
    assert abs(jnp.mean(first * second)) < 0.02


def test_heads_a_chain(key):
    problem = regression()
    chain = optax.chain(transformation(key), optax.scale(-1.0))
    update, _ = chain.update(problem.params, chain.init(problem.params), problem.params, batch=problem.data)
    total, _ = clipped_sum(mean_square, problem.params, *problem.data, clip_norm=0.5)
    assert_parity(update, jax.tree.map(lambda g: -g / 7, total))


def test_rejects_negative_noise_and_no_batch_size(key):
    with pytest.raises(ValueError, match="noise_multiplier must not be negative"):
        transformation(key, noise_multiplier=-1.0)
    with pytest.raises(ValueError, match="expected_batch_size must be positive"):
        transformation(key, expected_batch_size=0.0)
