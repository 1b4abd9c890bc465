"""`nth.laplacian` against nested autograd, closed forms, and what it refuses."""

import jax.numpy as jnp
import pytest

import torch_ref.nth
from jaxgrad.nth import laplacian
from tests.bridge import assert_parity
from tests.nth.networks import draw, of_point, of_point_torch


def test_laplacian_matches_torch():
    params, x, params_torch, x_torch = draw((4, 6, 5, 2), (4,))
    want = torch_ref.nth.laplacian(of_point_torch, x_torch, params_torch)
    assert_parity(laplacian(of_point, x, params), want)


def test_laplacian_of_a_harmonic_function_is_zero():
    assert laplacian(lambda x: x[0] ** 3 - 3 * x[0] * x[1] ** 2, jnp.array([2.0, 3.0])).item() == 0.0


def test_laplacian_rejects_a_batch():
    with pytest.raises(ValueError, match=r"x must be a vector, one point; got float64\[2,3\]"):
        laplacian(jnp.sum, jnp.ones((2, 3)))
