"""`nth.divergence` against nested autograd, the Laplacian of a potential, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.nth
from jaxgrad.nth import divergence, laplacian
from tests.bridge import assert_parity
from tests.nth.networks import draw, of_point, of_point_torch


def test_matches_torch():
    params, x, params_torch, x_torch = draw((3, 6, 3), (3,))
    want = torch_ref.nth.divergence(of_point_torch, x_torch, params_torch)
    assert_parity(divergence(of_point, x, params), want)


def test_of_a_gradient_is_the_laplacian():
    params, x, _, _ = draw((3, 6, 1), (3,))

    def potential(z):
        return of_point(z, params)[0]

    assert_parity(divergence(jax.grad(potential), x), laplacian(potential, x))


def test_rejects_an_output_of_another_length():
    with pytest.raises(ValueError, match=r"one entry for each of the 3 of x; its output is \(2,\)"):
        divergence(lambda x: x[:2], jnp.ones(3))


def test_of_a_field_of_integers_is_zero():
    assert divergence(lambda x: jnp.floor(x).astype(int), jnp.ones(3)).tolist() == 0.0


def test_names_the_line_of_a_primitive_that_has_no_jvp():
    with pytest.raises(TypeError, match=r"pure_callback has no forward derivative .* used at .*test_divergence\.py"):
        divergence(lambda x: jax.pure_callback(np.sin, x, x, vmap_method="sequential"), jnp.ones(3))


def test_in_no_variables_is_zero():
    assert divergence(lambda v: v, jnp.ones(0)).item() == 0.0
