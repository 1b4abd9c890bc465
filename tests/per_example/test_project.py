"""`per_example.project` on the same directions as the reference; inner products survive in expectation."""

import jax
import jax.numpy as jnp
import pytest

import torch_ref.per_example
from jaxgrad.per_example import gram, project
from jaxgrad.per_example._project import direction
from tests.bridge import assert_parity, to_torch
from tests.problems import mean_square, mean_square_torch, regression


def test_matches_torch_on_the_same_directions(key):
    problem = regression()
    got = project(mean_square, problem.params, *problem.data, key=key, dim=5)
    directions = [to_torch(direction(k, problem.params)) for k in jax.random.split(key, 5)]
    want = torch_ref.per_example.project(
        mean_square_torch, problem.params_torch, *problem.data_torch, directions=directions
    )
    assert_parity(got, want)


def test_inner_products_survive(key):
    problem = regression()
    features = project(mean_square, problem.params, *problem.data, key=key, dim=4000)
    exact = gram(mean_square, problem.params, *problem.data)
    assert jnp.abs(features @ features.T - exact).max() < 0.1 * jnp.diag(exact).max()


def test_rejects_no_direction(key):
    problem = regression()
    with pytest.raises(ValueError, match="dim must be at least 1"):
        project(mean_square, problem.params, *problem.data, key=key, dim=0)
