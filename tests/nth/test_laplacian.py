"""Second derivatives and their sums against nested autograd, closed forms, and what they refuse."""

import jax
import jax.numpy as jnp
import pytest

import torch_ref.nth
from jaxgrad.nth import laplacian, second_derivatives, weighted_laplacian
from tests.bridge import assert_parity, random_like, to_torch
from tests.nth.networks import draw, of_point, of_point_torch


def test_laplacian_matches_torch():
    params, x, params_torch, x_torch = draw((4, 6, 5, 2), (4,))
    want = torch_ref.nth.laplacian(of_point_torch, x_torch, params_torch)
    assert_parity(laplacian(of_point, x, params), want)


def test_laplacian_of_a_harmonic_function_is_zero():
    assert laplacian(lambda x: x[0] ** 3 - 3 * x[0] * x[1] ** 2, jnp.array([2.0, 3.0])).item() == 0.0


def odd_parts(x, w):
    """Every kind of rule under the sum: control flow, a custom rule, a product of two moving arrays, selection."""
    y, _ = jax.lax.scan(lambda c, row: (jnp.tanh(row @ c + c * jnp.sin(c)), None), x, w)
    y = jax.lax.cond(y[0] > 0, jnp.cos, jnp.exp, y) * jax.nn.softplus(x)
    y = jax.lax.fori_loop(0, 2, lambda i, c: c * jnp.sin(c), y)
    return jnp.sum(jnp.maximum(jnp.sort(y), 0.1) ** 2) + jax.checkpoint(jnp.prod)(x)


def test_laplacian_through_control_flow_is_the_trace_of_the_hessian():
    x = jnp.array([0.3, 0.7, 1.1])
    w = random_like(jnp.ones((4, 3, 3)), 2)
    got, want = jax.jit(lambda z, w: (laplacian(odd_parts, z, w), jnp.trace(jax.hessian(odd_parts)(z, w))))(x, w)
    assert_parity(got, want)


def test_laplacian_leaves_the_mapped_axes_of_its_caller_alone():
    def summed(q):
        return laplacian(lambda u: jnp.sum(u**2) * jax.lax.psum(q, "directions"), jnp.ones(2))

    assert jax.vmap(summed, axis_name="directions")(jnp.ones(3)).tolist() == [12.0, 12.0, 12.0]


def test_laplacian_is_differentiable_in_the_parameters():
    params, x, _, _ = draw((3, 6, 5, 1), (3,))
    got = jax.jit(jax.grad(lambda p: laplacian(of_point, x, p)[0] ** 2))(params)
    want = jax.jit(jax.grad(lambda p: jnp.trace(jax.hessian(lambda z: of_point(z, p)[0])(x)) ** 2))(params)
    assert_parity(got, want)


@pytest.mark.parametrize(("shape", "factored"), [((4,), False), ((4, 4), False), ((4, 2), True)])
def test_weighted_laplacian_matches_torch(shape, factored):
    params, x, params_torch, x_torch = draw((4, 6, 5, 2), (4,))
    weights = random_like(jnp.ones(shape), 3)
    want = torch_ref.nth.weighted_laplacian(of_point_torch, x_torch, to_torch(weights), params_torch, factored=factored)
    assert_parity(weighted_laplacian(of_point, x, weights, params, factored=factored), want)


def test_weighted_laplacian_is_linear_in_the_matrix():
    params, x, _, _ = draw((3, 6, 1), (3,))
    matrix = random_like(jnp.ones((3, 3)), 4)
    slope = jax.jit(jax.grad(lambda c: weighted_laplacian(of_point, x, c, params)[0]))(matrix)
    assert_parity(slope, jax.jit(jax.hessian(lambda z: of_point(z, params)[0]))(x))


def test_second_derivatives_match_torch_and_sum_to_the_laplacian():
    params, x, params_torch, x_torch = draw((4, 6, 5, 2), (4,))
    got = second_derivatives(of_point, x, params)
    assert_parity(got, torch_ref.nth.second_derivatives(of_point_torch, x_torch, params_torch))
    assert_parity(got.sum(0), laplacian(of_point, x, params))


def test_rejects_a_batch_and_weights_of_another_shape():
    with pytest.raises(ValueError, match=r"x must be a vector, one point; got float64\[2,3\]"):
        laplacian(jnp.sum, jnp.ones((2, 3)))
    with pytest.raises(ValueError, match=r"weights must have the shape \(3,\) or \(3, 3\) .* got \(3, 2\)"):
        weighted_laplacian(jnp.sum, jnp.ones(3), jnp.ones((3, 2)))
