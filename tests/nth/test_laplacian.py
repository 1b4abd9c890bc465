"""Second derivatives and their sums against nested autograd, closed forms, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.nth
from jaxgrad.nth import laplacian, second_derivatives, value_gradient_laplacian, weighted_laplacian
from tests.bridge import assert_parity, random_like, to_torch
from tests.nth.networks import draw, of_point, of_point_torch
from tests.turns import one_in

pytestmark = pytest.mark.usefixtures("compiled_quickly")


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


def turned(scale):
    """A diffusivity five times smaller across than along, its axes turned by half a radian."""
    turn = np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    return turn @ np.diag([scale, scale / 5]) @ turn.T


MATRICES = {
    "multiple of one": np.eye(2),
    "turned": turned(1.0),
    "not symmetric": np.array([[1.0, 3.0], [-0.5, 2.0]]),
    "indefinite": np.array([[0.0, 2.0], [2.0, -1.0]]),
    "of rank one": np.array([[1.0, -2.0], [-2.0, 4.0]]),
    "zero": np.zeros((2, 2)),
    "rows of unlike size": np.array([[1e-6, 2e-7], [3e-7, 1e3]]),
    "a large antisymmetric part": np.array([[1.0, 1e4], [-1e4, 1.0]]),
}


def plane_wave(x):
    return jnp.sin(3 * x[0]) * jnp.cos(2 * x[1]) + x[0] * x[1] ** 2


@pytest.mark.parametrize("name", one_in(2, MATRICES, 1))
def test_a_matrix_of_any_scale_is_exact_in_float32(name):
    x = jnp.array([0.4, 0.9])
    hessian = np.asarray(jax.jit(jax.hessian(plane_wave))(x))
    run = jax.jit(jax.vmap(lambda c: weighted_laplacian(plane_wave, x.astype(jnp.float32), c)))
    scales = np.array([1e-30, 1e-8, 1e-3, 1.0, 1e7, 1e30])
    matrices = (scales[:, None, None] * MATRICES[name]).astype(np.float32)
    symmetric = (matrices.astype(float) + matrices.transpose(0, 2, 1)) / 2
    want = np.sum(symmetric * hessian, axis=(1, 2))
    size = np.sum(np.abs(symmetric * hessian), axis=(1, 2))
    assert np.all(np.abs(np.asarray(run(matrices)) - want) <= 1e-6 * size)


@pytest.mark.parametrize("weights", [[1e-8, 0.0], [[1e-8, 0.0], [0.0, 0.0]], [[1e-4], [0.0]]], ids=["d", "C", "S"])
@pytest.mark.parametrize("scale", one_in(2, [1.0, 1e14], 1))
def test_weights_beyond_the_range_of_float16(weights, scale):
    # the second derivative is 4000 / scale: the weighted one has its place in float16, the weights have not
    def bowl(x):
        return jnp.asarray(2000.0 / scale, jnp.float32) * x[0].astype(jnp.float32) ** 2

    factored = np.shape(weights) == (2, 1)
    wide = jnp.asarray(np.array(weights) * (np.sqrt(scale) if factored else scale), jnp.float32)
    got = weighted_laplacian(bowl, jnp.ones(2, jnp.float16), wide, factored=factored)
    np.testing.assert_allclose(got, 4e-5, rtol=2e-3)
    if not factored:
        slope = jax.jit(jax.grad(lambda w: weighted_laplacian(bowl, jnp.ones(2, jnp.float16), w)))(wide)
        np.testing.assert_allclose(slope.ravel()[0], 4000.0 / scale, rtol=2e-3)


def test_a_matrix_through_control_flow_is_the_weighted_sum_of_the_hessian():
    x, w, matrix = jnp.array([0.3, 0.7, 1.1]), random_like(jnp.ones((4, 3, 3)), 2), random_like(jnp.ones((3, 3)), 5)
    got = jax.jit(lambda z, w, c: weighted_laplacian(odd_parts, z, c, w))(x, w, matrix)
    assert_parity(got, jnp.sum(matrix * jax.jit(jax.hessian(odd_parts))(x, w)))


LINEAR_ALGEBRA = {
    "solve": lambda a: jnp.linalg.solve(a, a[0]),
    "inverse": jnp.linalg.inv,
    "Cholesky": lambda a: jnp.linalg.cholesky(a @ a.T + jnp.eye(2)),
    "determinant": lambda a: jnp.linalg.slogdet(a)[1],
    "eigenvalues": lambda a: jnp.linalg.eigvalsh(a + a.T),
    "QR": lambda a: jnp.linalg.qr(a)[1],
}


@pytest.mark.parametrize("name", one_in(3, LINEAR_ALGEBRA))
def test_a_matrix_through_linear_algebra_is_the_weighted_sum_of_the_hessian(name):
    def fun(x):
        return jnp.sum(jnp.sin(LINEAR_ALGEBRA[name](jnp.stack([x[:2] + 2, x[1:] * x[0] - 1]))))

    x, matrix = jnp.array([0.3, 0.7, 1.1]), random_like(jnp.ones((3, 3)), 5)
    got = jax.jit(lambda z, c: weighted_laplacian(fun, z, c))(x, matrix)
    assert_parity(got, jnp.sum(matrix * jax.jit(jax.hessian(fun))(x)))


@jax.custom_vjp
def halved(x):
    return jnp.sin(x)


halved.defvjp(lambda x: (jnp.sin(x), x), lambda x, ct: (ct * jnp.cos(x) / 2,))


def rules(x):
    """Integers, quotients, powers, custom rules of both kinds and results without a slope."""
    rank = jnp.argmax(x).astype(x.dtype)
    y = jax.nn.gelu(x / (2 + x[::-1])) * jnp.floor(x + 5) + jnp.linalg.norm(x) ** 3 + rank
    return {"y": halved(y) ** 2, "top": jnp.cumprod(y)[-1] + jnp.sum(x**2.5), "which": jnp.argmax(y)}


def test_a_matrix_of_one_direction_is_the_second_derivative_along_it():
    x, v = jnp.array([0.3, 0.7, 1.1]), jnp.array([0.5, -1.0, 2.0])
    got = weighted_laplacian(rules, x, jnp.outer(v, v))
    assert_parity(got["y"], weighted_laplacian(rules, x, v[:, None], factored=True)["y"])
    assert_parity(got["top"], weighted_laplacian(rules, x, v[:, None], factored=True)["top"])
    assert got["which"].dtype == jax.dtypes.float0


def flops(fun, *args):
    return jax.jit(fun).lower(*args).compile().cost_analysis()["flops"]


def test_a_matrix_costs_one_evaluation_for_each_axis_and_row():
    params, x, _, _ = draw((8, 32, 32, 1), (8,))
    forward = flops(of_point, x, params)
    # the first layer of a batch of axes is a matrix product of its own
    assert flops(lambda z, c, p: weighted_laplacian(of_point, z, c, p), x, jnp.eye(8), params) < 1.2 * 18 * forward


def test_value_gradient_laplacian_matches_torch():
    params, x, params_torch, x_torch = draw((4, 6, 5, 2), (4,))
    got = value_gradient_laplacian(of_point, x, params)
    assert_parity(got, torch_ref.nth.value_gradient_laplacian(of_point_torch, x_torch, params_torch))
    assert_parity(got[1], jax.jit(jax.jacobian(of_point))(x, params))


def test_value_gradient_laplacian_takes_no_more_than_the_laplacian():
    params, x, _, _ = draw((8, 32, 32, 1), (8,))
    alone = flops(lambda z, p: laplacian(of_point, z, p), x, params)
    # the slopes of the last activation and of the last layer
    assert flops(lambda z, p: value_gradient_laplacian(of_point, z, p), x, params) <= alone + 8 * 4 * 32


def test_value_gradient_laplacian_of_integers_is_the_zero_of_jax():
    for chunk in (None, 2):
        value, slope, curvature = value_gradient_laplacian(lambda x: jnp.round(x).astype(int), jnp.ones(3), chunk=chunk)
        assert value.tolist() == [1, 1, 1]
        assert (slope.dtype, slope.shape) == (jax.dtypes.float0, (3, 3))
        assert (curvature.dtype, curvature.shape) == (jax.dtypes.float0, (3,))


OPERATORS = {
    "laplacian": laplacian,
    "second_derivatives": second_derivatives,
    "value_gradient_laplacian": value_gradient_laplacian,
    "diagonal": lambda f, x, p, chunk=None: weighted_laplacian(f, x, jnp.arange(1.0, 8.0), p, chunk=chunk),
    "matrix": lambda f, x, p, chunk=None: weighted_laplacian(f, x, jnp.outer(x, jnp.cos(x)), p, chunk=chunk),
    "factor": lambda f, x, p, chunk=None: weighted_laplacian(
        f, x, jnp.ones((7, 4)) + x[:, None], p, chunk=chunk, factored=True
    ),
}


@pytest.mark.parametrize("name", one_in(2, OPERATORS))
def test_chunks_change_nothing_but_rounding(name):
    params, x, _, _ = draw((7, 6, 2), (7,))
    run = OPERATORS[name]
    want = run(of_point, x, params)
    for chunk in (1, 3, 7, 100):
        assert_parity(run(of_point, x, params, chunk=chunk), want)


@pytest.mark.slow
def test_chunks_take_less_memory_also_backward():
    params, x, _, _ = draw((32, 32, 32, 1), (64, 32))

    def temporaries(fun):
        return jax.jit(fun).lower(x, params).compile().memory_analysis().temp_size_in_bytes

    def loss(z, p, chunk):
        value, slope, curvature = jax.vmap(lambda y: value_gradient_laplacian(of_point, y, p, chunk=chunk))(z)
        return jnp.sum(value**2) + jnp.sum(slope**2) + jnp.sum(curvature**2)

    for backward in (False, True):
        sizes = [
            temporaries(jax.grad(fun, argnums=1) if backward else fun)
            for fun in (lambda z, p, chunk=chunk: loss(z, p, chunk) for chunk in (None, 9, 2))
        ]
        assert sizes[0] > 1.5 * sizes[1] > 1.5 * sizes[2], sizes


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
    with pytest.raises(ValueError, match="chunk must be at least 1; got 0"):
        value_gradient_laplacian(jnp.sum, jnp.ones(3), chunk=0)
