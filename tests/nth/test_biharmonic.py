"""`nth.biharmonic` against nested autograd, closed forms, and what it refuses."""

import jax.numpy as jnp
import pytest

import torch_ref.nth
from jaxgrad.nth import biharmonic
from tests.bridge import assert_parity
from tests.nth.networks import draw, of_point, of_point_torch


def test_matches_torch():
    params, x, params_torch, x_torch = draw((3, 5, 1), (3,))
    want = torch_ref.nth.biharmonic(of_point_torch, x_torch, params_torch)
    assert_parity(biharmonic(of_point, x, params), want)


def test_of_a_plane_wave():
    """The biharmonic of ``sin(k x)`` is ``|k|^4 sin(k x)``."""
    k, x = jnp.array([1.0, 2.0, -0.5]), jnp.array([0.3, 0.1, 0.7])
    assert_parity(biharmonic(lambda z: jnp.sin(k @ z), x), (k @ k) ** 2 * jnp.sin(k @ x))


def test_rejects_a_batch():
    with pytest.raises(ValueError, match="x must be a vector"):
        biharmonic(jnp.sum, jnp.ones((2, 3)))
