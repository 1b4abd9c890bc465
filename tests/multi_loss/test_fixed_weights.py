"""`multi_loss.mean_weights`, `sum_weights`, `constant_weights` and `random_weights`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.multi_loss
from jaxgrad.multi_loss import constant_weights, mean_weights, random_weights, sum_weights
from jaxgrad.verify._bridge import to_torch
from tests.bridge import assert_parity

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

GRAM = jnp.asarray(np.eye(4))


def test_matches_torch(key):
    gram, preferences = to_torch(np.eye(4)), np.array([1.0, 0.0, -2.0, 3.0])
    assert_parity(mean_weights(GRAM), torch_ref.multi_loss.mean_weights(gram))
    assert_parity(sum_weights(GRAM), torch_ref.multi_loss.sum_weights(gram))
    want = torch_ref.multi_loss.constant_weights(gram, preferences=to_torch(preferences))
    assert_parity(constant_weights(GRAM, preferences=preferences), want)
    draws = to_torch(np.asarray(jax.random.normal(key, (4,))))
    assert_parity(random_weights(GRAM, key=key), torch_ref.multi_loss.random_weights(gram, draws=draws))


def test_random_weights_are_alike_in_the_mean(key):
    weights = jax.jit(jax.vmap(lambda key: random_weights(GRAM, key=key)))(jax.random.split(key, 4000))
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-12)
    # a weight has a standard deviation below 1/4, so that four standard errors of its mean are below 0.016
    np.testing.assert_allclose(weights.mean(0), 0.25, atol=0.016)


def test_rejects_wrong_preferences():
    with pytest.raises(ValueError, match=r"preferences must hold one number for each of the 4 losses.*float64\[2\]"):
        constant_weights(GRAM, preferences=jnp.ones(2))
