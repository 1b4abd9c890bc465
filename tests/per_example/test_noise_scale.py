"""`per_example.noise_scale` against the covariance of the gradients; it is unbiased."""

import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.per_example
from jaxgrad.per_example import noise_scale
from tests.bridge import assert_parity
from tests.problems import mean_square, mean_square_torch, regression

pytestmark = pytest.mark.usefixtures("compiled_quickly")


@pytest.mark.parametrize("microbatch", [None, 2])
def test_matches_torch(microbatch):
    problem = regression()
    got = noise_scale(mean_square, problem.params, *problem.data, microbatch=microbatch)
    want = torch_ref.per_example.noise_scale(mean_square_torch, problem.params_torch, *problem.data_torch)
    assert_parity(tuple(got), want)


def test_recovers_a_known_covariance():
    # gradients x_i of mean (3, 4) and covariance diag(1, 4)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(20000, 2)) * [1.0, 2.0] + [3.0, 4.0])
    got = noise_scale(lambda w, x: w @ x, jnp.ones(2), x)
    assert abs(got.trace - 5) < 0.2
    assert abs(got.squared_mean - 25) < 0.5


def test_rejects_a_single_example():
    with pytest.raises(ValueError, match="at least two examples"):
        noise_scale(lambda w, x: w @ x, jnp.ones(2), jnp.ones((1, 2)))
