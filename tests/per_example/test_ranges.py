"""Norms, sums and moments of gradients whose squares, scales or factors leave the range of their dtype."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad._uses import _batch
from jaxgrad.per_example import clipped_sum, gradients, moments, noise_scale, norms
from tests.turns import covering

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

MODES = ["auto", "book-keeping", "ghost", "vmap"]


def linear(params, x):
    return jnp.sum(params["w"] * x)


def outer(params, x):
    return jnp.sum((x["u"] @ params["w"]) * x["v"])


@pytest.mark.parametrize(("mode", "sizes"), covering(MODES, [(1e19, 1.0), (1e-23, 1e-24)]))
def test_a_norm_whose_square_is_out_of_range(mode, sizes):
    size, limit = sizes
    x = jnp.asarray([[3 * size, 4 * size], [0.0, 0.0]], jnp.float32)
    total, info = clipped_sum(linear, {"w": jnp.ones(2, jnp.float32)}, x, clip_norm=limit, mode=mode)
    np.testing.assert_allclose(info.norms, np.array([5 * size, 0.0]), rtol=1e-6)
    np.testing.assert_allclose(total["w"], np.array([0.6, 0.8]) * limit, rtol=1e-6)
    np.testing.assert_allclose(info.sensitivity, limit, rtol=1e-6)


@pytest.mark.parametrize(
    ("positions", "scales"), covering([1, 3], [(1e25, 1e-25), (1e18, 1e-21), (1e19, 1e3), (1e-15, 1e-10)])
)
def test_factors_whose_squares_are_out_of_range(positions, scales):
    left, right = scales
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=(2, positions, 16)) * left, rng.normal(size=(2, positions, 16)) * right
    batch = {"u": jnp.asarray(u, jnp.float32), "v": jnp.asarray(v, jnp.float32)}
    got = norms(outer, {"w": jnp.zeros((16, 16), jnp.float32)}, batch, mode="book-keeping")
    want = np.linalg.norm(np.einsum("btd,btp->bdp", u, v), axis=(1, 2))
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_a_choice_by_range_stays_one_under_vmap():
    x = jnp.asarray([[3e19, 4e19], [0.3, 0.4]], jnp.float32)
    weights = {"w": jnp.ones((3, 2), jnp.float32)}
    got = jax.jit(jax.vmap(lambda p: norms(linear, p, x)))(weights)
    np.testing.assert_allclose(got, np.tile([5e19, 0.5], (3, 1)), rtol=1e-6)


def test_norms_out_of_range_have_a_derivative():
    def scaled(params, x):
        return params["a"] ** 2 * jnp.sum(x)

    slope = jax.jit(jax.grad(lambda a: jnp.sum(norms(scaled, {"a": a}, jnp.asarray([[1e25]], jnp.float32)))))
    np.testing.assert_allclose(slope(jnp.float32(3.0)), 2e25, rtol=1e-6)


@pytest.mark.parametrize(("mode", "limit"), covering(MODES, [1.0, 1e-2, 1e-4]))
def test_float16_scales_do_not_underflow(mode, limit):
    def loss(params, x, y):
        return jnp.square(params["w"] @ x - y).astype(jnp.float32)

    w, x = {"w": jnp.full(4, 0.5, jnp.float16)}, jnp.full((2, 4), 10.0, jnp.float16)
    total, info = clipped_sum(loss, w, x, jnp.asarray([-100, -200], jnp.float16), clip_norm=limit, mode=mode)
    np.testing.assert_allclose(info.norms, [4800.0, 8800.0], rtol=1e-3)
    np.testing.assert_allclose(np.asarray(total["w"], np.float64), limit, rtol=2e-3)


def rows_of_16_bits(params, x):
    return (jnp.sum(x @ params["w"]) * jnp.asarray(1e-3, x.dtype)).astype(jnp.float32)


def inverse(norms):
    return 1 / norms


@pytest.mark.parametrize(("mode", "dtype"), covering(MODES, [jnp.float16, jnp.float32]))
def test_zero_times_infinity_is_zero(mode, dtype):
    x = jnp.asarray([[0.0, 0.0, 0.0], [1.0, 2.0, 2.0]], dtype)
    total, _ = clipped_sum(rows_of_16_bits, {"w": jnp.zeros((3, 1), dtype)}, x, clip_norm=inverse, mode=mode)
    np.testing.assert_allclose(np.asarray(total["w"], np.float64).ravel(), np.array([1, 2, 2]) / 3, rtol=2e-3)


def test_infinite_scales_are_caught_where_they_are_cut(monkeypatch):
    monkeypatch.setattr(_batch, "_cut", lambda scale, norm, counts: jnp.where(counts, scale, jnp.zeros_like(scale)))
    x = jnp.asarray([[0.0, 0.0, 0.0], [1.0, 2.0, 2.0]], jnp.float32)
    total, _ = clipped_sum(
        lambda p, x: rows_of_16_bits(p, x), {"w": jnp.zeros((3, 1), jnp.float32)}, x, clip_norm=inverse
    )
    assert jnp.isnan(total["w"]).all()


@pytest.mark.parametrize("mode", ["auto", "vmap"])
def test_float16_squares_are_taken_in_float32(mode):
    x = jnp.asarray([[300.0, 1.0, 0.5], [400.0, 2.0, 0.25]], jnp.float16)
    got = moments(rows_of_16_bits, {"w": jnp.zeros((3, 1), jnp.float16)}, x, mode=mode)
    np.testing.assert_allclose(np.asarray(got.second_moment["w"], np.float64)[:, 0], [0.125, 2.5e-6, 1.6e-7], rtol=0.2)


@pytest.mark.parametrize("mode", MODES)
def test_a_bfloat16_sum_of_many_equal_gradients(mode):
    x = jnp.full((20000, 2), 0.5, jnp.bfloat16)

    def loss(params, x):
        return jnp.sum(params["b"] * x).astype(jnp.float32)

    total, _ = clipped_sum(loss, {"b": jnp.ones(2, jnp.bfloat16)}, x, clip_norm=1.0, mode=mode)
    np.testing.assert_allclose(np.asarray(total["b"], np.float64), 10000.0, rtol=4e-3)


def test_noise_scale_of_gradients_whose_squares_overflow():
    def loss(params, x):
        return params["w"] * x

    got = noise_scale(loss, {"w": jnp.float32(1.0)}, jnp.asarray([1e25, 3e25], jnp.float32))
    np.testing.assert_allclose(got.noise_scale, 2 / 3, rtol=1e-5)


@pytest.mark.parametrize("function", [norms, gradients])
def test_an_empty_batch_is_refused_with_a_sentence(function):
    with pytest.raises(ValueError, match="there is no example to differentiate"):
        function(linear, {"w": jnp.ones(2)}, jnp.ones((0, 2)))
