"""`inr.laplacian_loss` against torch's double backward, its gradient too; what it cannot see; what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.inr
from jaxgrad.inr import coordinate_derivatives, laplacian_loss
from tests.bridge import assert_parity, to_torch
from tests.inr.fields import field, siren_jax, siren_torch, value_and_gradient

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


def test_value_and_gradient_match_torch():
    case = field()
    wanted = jnp.asarray(10 * np.sin(np.arange(21.0)).reshape(7, 3), jnp.float64)
    got = jax.jit(jax.value_and_grad(lambda p, x: laplacian_loss(siren_jax, p, x, wanted)))(case.params, case.points)

    def loss(params):
        return torch_ref.inr.laplacian_loss(siren_torch, params, case.points_torch, to_torch(wanted))

    assert_parity(got, value_and_gradient(loss, case.params_torch))


def test_is_the_mean_square_of_the_difference():
    case = field()
    found = coordinate_derivatives(siren_jax, case.params, case.points, second="laplacian").laplacian
    assert_parity(laplacian_loss(siren_jax, case.params, case.points, found + 0.5), 0.25)


def test_does_not_see_a_harmonic_function():
    def saddle(params, p):
        x, y = p[..., :1], p[..., 1:]
        return jnp.exp(x * y) + params["a"] * (x**2 - y**2) + params["b"] * x + params["c"]

    points, wanted = jax.random.normal(jax.random.key(0), (5, 2)), jnp.ones((5, 1))
    losses = [laplacian_loss(saddle, dict.fromkeys("abc", value), points, wanted) for value in (0.0, 2.0)]
    assert_parity(*losses)


def test_refuses_laplacians_that_would_be_broadcast():
    case = field()
    with pytest.raises(ValueError, match=r"laplacians: got float64\[7\], expected float64\[7,3\]"):
        laplacian_loss(siren_jax, case.params, case.points, jnp.ones(7))
    with pytest.raises(ValueError, match=r"laplacians: got float64\[7\], expected float64\[7,1\]"):
        laplacian_loss(lambda p, x: siren_jax(p, x)[..., :1], case.params, case.points, jnp.ones(7))
