"""`per_example.dp_aggregate`: the clipped mean without noise, the noise's size, and its place in a chain."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgrad import _tree
from jaxgrad.per_example import clipped_sum, dp_aggregate
from tests.bridge import assert_parity
from tests.per_example.private import mean_square, regression
from tests.turns import one_in

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


def transformation(key, **changes):
    settings = {"clip_norm": 0.5, "noise_multiplier": 0.0, "expected_batch_size": 7.0, "key": key, **changes}
    return dp_aggregate(mean_square, **settings)


def test_without_noise_it_hands_the_clipped_mean_to_a_chain(key):
    problem = regression()
    chain = optax.chain(transformation(key), optax.scale(-1.0))
    state = chain.init(problem.params)
    update, state = jax.jit(chain.update)(None, state, problem.params, batch=problem.data)
    total, info = clipped_sum(mean_square, problem.params, *problem.data, clip_norm=0.5)
    assert_parity(update, jax.tree.map(lambda g: -np.asarray(g) / 7, total))
    assert_parity(state[0].fraction_clipped, np.float32(info.fraction_clipped))
    np.testing.assert_allclose(state[0].mean_loss, jnp.mean(info.losses), rtol=1e-6)


def test_noise_has_its_size_and_is_new_in_every_step(key):
    params, batch = jnp.zeros(20000), (jnp.zeros((2, 20000)),)
    private = dp_aggregate(lambda w, x: w @ x, clip_norm=0.5, noise_multiplier=3.0, expected_batch_size=2.0, key=key)
    step = jax.jit(private.update)
    first, state = step(None, private.init(params), params, batch=batch)
    second, _ = step(None, state, params, batch=batch)
    assert abs(jnp.std(first) - 0.75) < 0.02
    assert abs(jnp.mean(first * second)) < 0.02


def test_rejects_negative_noise_and_no_batch_size(key):
    with pytest.raises(ValueError, match="noise_multiplier must not be negative"):
        transformation(key, noise_multiplier=-1.0)
    with pytest.raises(ValueError, match="expected_batch_size must be positive"):
        transformation(key, expected_batch_size=0.0)
    with pytest.raises(ValueError, match="clip_norm must be finite where noise_multiplier is positive"):
        transformation(key, clip_norm=np.inf, noise_multiplier=1.0)


def test_rejects_a_bare_batch(key):
    private, problem = transformation(key), regression()
    with pytest.raises(TypeError, match=r"batch must be a tuple .* got float64\[7,3\]"):
        private.update(None, private.init(problem.params), problem.params, batch=problem.data[0])


def test_its_state_is_carried_by_scan_and_does_not_count_padding(key):
    problem = regression()
    private = transformation(key, noise_multiplier=1.0)
    padding = jnp.arange(7) > 4

    def step(state, _):
        update, state = private.update(None, state, problem.params, batch=problem.data, is_padding=padding)
        return state, update

    state, _ = jax.lax.scan(step, private.init(problem.params), length=2)
    losses = jax.jit(jax.vmap(mean_square, (None, 0, 0)))(problem.params, *problem.data)
    np.testing.assert_allclose(state.mean_loss, jnp.mean(losses[:5]), rtol=1e-6)
    assert state.mean_loss.dtype == state.fraction_clipped.dtype == jnp.float32


@pytest.mark.parametrize("noise", one_in(2, [0.0, jnp.array(0.0)], 1))
def test_an_infinite_norm_without_noise_gives_the_mean(key, noise):
    problem = regression()
    private = transformation(key, clip_norm=np.inf, noise_multiplier=noise)
    update, _ = jax.jit(private.update)(None, private.init(problem.params), problem.params, batch=problem.data)
    total, _ = clipped_sum(mean_square, problem.params, *problem.data, clip_norm=np.inf)
    assert_parity(update, jax.tree.map(lambda g: g / 7, total))


def no_gradient(params, x):
    return 0.0 * (params["w"].astype(jnp.float32).sum() + x)


def noise_in_bfloat16(key):
    params = {"w": jnp.zeros((200, 200), jnp.bfloat16)}
    private = dp_aggregate(
        lambda p, x: no_gradient(p, x), clip_norm=1.0, noise_multiplier=1.0, expected_batch_size=1.0, key=key
    )
    batch = (jnp.zeros(2, jnp.float32),)
    update, _ = jax.jit(private.update)(None, private.init(params), params, batch=batch)
    return np.asarray(update["w"], np.float64)


def test_noise_of_16_bits_has_its_values_and_its_tail(key):
    noise = noise_in_bfloat16(key)
    assert len(np.unique(noise)) > 1000
    assert np.abs(noise).max() > 3.5
    assert abs(noise.std() - 1) < 0.02


def test_noise_that_is_drawn_in_16_bits_would_be_seen(key, monkeypatch):
    monkeypatch.setattr(_tree, "accumulator", lambda *dtypes: jnp.dtype(dtypes[0]))
    assert len(np.unique(noise_in_bfloat16(key))) < 300


def test_an_empty_batch_gives_the_noise_alone(key):
    params = {"w": jnp.ones(2000)}
    private = dp_aggregate(
        lambda p, x: jnp.sum(p["w"]) * x, clip_norm=0.5, noise_multiplier=2.0, expected_batch_size=4.0, key=key
    )
    update, state = jax.jit(private.update)(None, private.init(params), params, batch=(jnp.ones(0),))
    assert abs(jnp.std(update["w"]) - 0.25) < 0.02
    assert state.mean_loss == state.fraction_clipped == 0


def test_a_traced_batch_size(key):
    problem = regression()

    def step(size):
        private = transformation(key, expected_batch_size=size)
        return private.update(None, private.init(problem.params), problem.params, batch=problem.data)[0]

    assert_parity(jax.jit(step)(7.0), jax.jit(lambda: step(7.0))())
