"""`per_example.random_projection` on the same directions as the reference; inner products survive in expectation."""

import jax
import numpy as np
import pytest

import torch_ref.per_example
from jaxgrad.per_example import gram, random_projection
from jaxgrad.per_example._random_projection import direction
from tests.bridge import assert_parity, to_torch
from tests.problems import mean_square, mean_square_torch, regression

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def test_matches_torch_on_the_same_directions(key):
    problem = regression()
    got = random_projection(mean_square, problem.params, *problem.data, key=key, dim=5)
    signs = jax.jit(direction)
    directions = [to_torch(signs(k, problem.params)) for k in jax.random.split(key, 5)]
    want = torch_ref.per_example.random_projection(
        mean_square_torch, problem.params_torch, *problem.data_torch, directions=directions
    )
    assert_parity(got, want)


def test_inner_products_survive(key):
    problem = regression()
    features = np.asarray(random_projection(mean_square, problem.params, *problem.data, key=key, dim=4000))
    exact = np.asarray(gram(mean_square, problem.params, *problem.data))
    assert np.abs(features @ features.T - exact).max() < 0.1 * exact.diagonal().max()


def test_rejects_no_direction(key):
    problem = regression()
    with pytest.raises(ValueError, match="dim must be at least 1"):
        random_projection(mean_square, problem.params, *problem.data, key=key, dim=0)
