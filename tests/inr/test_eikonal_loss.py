"""`inr.eikonal_loss` against torch, its gradient too; distances; a gradient that is exactly zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.inr
from jaxgrad.inr import eikonal_loss
from tests.bridge import assert_parity
from tests.inr.fields import field, siren_jax, siren_torch, value_and_gradient

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


def test_value_and_gradient_match_torch():
    case = field()
    got = jax.jit(jax.value_and_grad(lambda p, x: eikonal_loss(siren_jax, p, x)))(case.params, case.points)

    def loss(params):
        return torch_ref.inr.eikonal_loss(siren_torch, params, case.points_torch)

    assert_parity(got, value_and_gradient(loss, case.params_torch))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_distance_has_slope_one(size):
    def ball(radius, p):
        return jnp.linalg.norm(p, axis=-1, keepdims=True) - radius

    points = jax.random.normal(jax.random.key(0), (9, size))
    assert eikonal_loss(ball, 0.5, points) < 1e-28
    assert_parity(eikonal_loss(lambda a, p: a * ball(0.5, p), 3.0, points), 4.0)


def test_is_finite_where_the_gradient_is_zero():
    """A field that is flat, and a bowl at its bottom: a term of 1, and no step from there."""

    def bowl(params, p):
        return params["a"] * jnp.sum(p**2, axis=-1, keepdims=True)

    loss, step = jax.value_and_grad(lambda a, p: eikonal_loss(bowl, {"a": a}, p))(1.0, jnp.zeros((3, 2)))
    assert (loss, step) == (1, 0)
    loss, step = jax.value_and_grad(lambda a, p: eikonal_loss(bowl, {"a": a}, p))(0.0, jnp.ones((3, 2)))
    assert (loss, step) == (1, 0)
    second = jax.grad(jax.grad(lambda a: eikonal_loss(bowl, {"a": a}, jnp.zeros((3, 2)))))(1.0)
    assert second == 0


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e-3])
def test_the_smallest_slopes_ask_for_a_step(size):
    """The loss of ``a x`` is ``(|a| - 1)^2``, however small ``a``."""

    def loss(a):
        return eikonal_loss(lambda a, p: a * p[..., :1], a, jnp.ones((3, 2), jnp.float32))

    a = jnp.float32(-size)
    value, step = jax.value_and_grad(loss)(a)
    np.testing.assert_allclose([value, step], [(1 - size) ** 2, 2 * (1 - size)], rtol=1e-6)
