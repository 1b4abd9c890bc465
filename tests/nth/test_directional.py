"""`nth.directional` against nested autograd, in parameter space too, its laws, and what it refuses."""

import jax
import jax.numpy as jnp
import pytest

import torch_ref.nth
from jaxgrad.nth import directional, taylor_coefficients
from tests.bridge import assert_parity, random_like, to_torch
from tests.nth.networks import draw, of_point, of_point_torch
from tests.problems import mean_square, mean_square_torch, regression

pytestmark = pytest.mark.usefixtures("compiled_quickly")


@pytest.mark.parametrize("order", range(5))
def test_matches_torch_along_a_direction_of_the_input(order):
    params, x, params_torch, x_torch = draw((3, 6, 2), (3,))
    v = random_like(x, 1)
    want = torch_ref.nth.directional(of_point_torch, x_torch, to_torch(v), order, params_torch)
    assert_parity(directional(of_point, x, v, order, params), want)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_matches_torch_along_a_direction_of_the_parameters(order):
    problem = regression((3, 4, 2), 5)
    v = random_like(problem.params, 1)
    got = directional(mean_square, problem.params, v, order, *problem.data)
    want = torch_ref.nth.directional(mean_square_torch, problem.params_torch, to_torch(v), order, *problem.data_torch)
    assert_parity(got, want)


def test_is_homogeneous_in_the_direction():
    params, x, _, _ = draw((3, 6, 2), (3,))
    v = random_like(x, 1)
    assert_parity(directional(of_point, x, -2 * v, 3, params), -8 * directional(of_point, x, v, 3, params))
    assert_parity(directional(of_point, x, 0 * v, 3, params), jnp.zeros(2))


def test_rejects_a_direction_that_does_not_mirror_x():
    with pytest.raises(ValueError, match=r"direction must have .* of x:\n  direction: got float64\[2\]"):
        directional(jnp.sum, jnp.ones(3), jnp.ones(2), 2)
    with pytest.raises(TypeError, match="x moves, so its leaves must be real or complex"):
        directional(jnp.sum, jnp.arange(3), jnp.arange(3), 2)


def test_rejects_a_traced_order():
    with pytest.raises(TypeError, match="order must be known"):
        jax.jit(lambda n: directional(jnp.sum, jnp.ones(3), jnp.ones(3), n))(2)


def test_taylor_coefficients_match_torch():
    params, x, params_torch, x_torch = draw((3, 6, 2), (3,))
    v = random_like(x, 1)
    want = torch_ref.nth.taylor_coefficients(of_point_torch, x_torch, to_torch(v), 5, params_torch)
    assert_parity(taylor_coefficients(of_point, x, v, 5, params), want)


def test_taylor_coefficients_sum_to_the_function():
    params, x, _, _ = draw((3, 6, 2), (3,))
    v = random_like(x, 1) / 10
    assert_parity(taylor_coefficients(of_point, x, v, 14, params).sum(0), of_point(x + v, params))
