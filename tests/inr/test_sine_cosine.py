"""`inr.sine_cosine`: its error bound, its derivatives of every order, in Taylor mode too, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.inr
from jaxgrad import nth
from jaxgrad.inr import sine, sine_cosine
from tests.bridge import assert_parity, to_jax, to_torch

pytestmark = pytest.mark.usefixtures("compiled_quickly")


@pytest.mark.parametrize(("bound", "allowed"), [(200.0, 1.3e-7), (1e5, 1.3e-7), (1e8, 1.3e-7 + 2**-23 * 1e8)])
def test_error_in_float32(bound, allowed):
    """Anywhere, and next to the multiples of a quarter of pi, where the waves change over."""
    rng = np.random.default_rng(0)
    near = np.round(rng.uniform(-bound, bound, 50_000) / np.pi * 4) * np.pi / 4
    x = np.concatenate([rng.uniform(-bound, bound, 200_000), near]).astype(np.float32)
    exact = x.astype(np.float64)
    for got, want in zip(sine_cosine(x), (np.sin(exact), np.cos(exact)), strict=True):
        assert got.dtype == jnp.float32
        assert np.abs(np.asarray(got) - want).max() <= allowed
        assert np.abs(got).max() <= 1


def test_half_turns_where_an_integer_of_float32_ends():
    """About 2**23, from where on they are left out, and about 2**22 half turns, where their parity ends."""
    for middle in (2.0**23, 2.0**22 * np.pi, 2.0**24):
        x = np.float32(middle) + np.arange(-3000, 3000, dtype=np.float32)
        x = np.concatenate([x, -x])
        exact = x.astype(np.float64)
        for got, want in zip(sine_cosine(x), (np.sin(exact), np.cos(exact)), strict=True):
            assert (np.abs(np.asarray(got) - want) <= 1.3e-7 + 2.0**-23 * np.abs(exact)).all()


def test_special_values(compiled_fully):
    """Compiled as users compile: without LLVM's optimisations the cosine of 0 is rounded to the neighbour of 1."""
    x = jnp.array([0.0, -0.0, np.nan, np.inf, -np.inf], jnp.float32)
    s, c = sine_cosine(x)
    np.testing.assert_array_equal(s, np.array([0, 0, np.nan, np.nan, np.nan], np.float32))
    np.testing.assert_array_equal(c, np.array([1, 1, np.nan, np.nan, np.nan], np.float32))


def test_float64_is_that_of_torch():
    x = np.random.default_rng(0).uniform(-100, 100, 1000)
    assert_parity(sine_cosine(to_jax(x)), torch_ref.inr.sine_cosine(to_torch(x)), tolerance=1e-15)
    np.testing.assert_array_equal(sine(to_jax(x)), jnp.sin(to_jax(x)))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_low_precision_is_rounded_once(dtype):
    x = jnp.asarray(np.random.default_rng(0).uniform(-100, 100, 1000), dtype)
    exact = np.asarray(x, np.float64)
    for got, want in zip(sine_cosine(x), (np.sin(exact), np.cos(exact)), strict=True):
        np.testing.assert_array_equal(np.asarray(got, np.float32), np.asarray(jnp.asarray(want, dtype), np.float32))


def quarter_turns(x, order):
    """Return the derivatives 0 to ``order`` of both waves, float64."""
    turns = np.pi / 2 * np.arange(order + 1)[:, None]
    return np.sin(x + turns), np.cos(x + turns)


def test_every_order_by_nested_jvp_and_in_taylor_mode():
    x = jnp.linspace(-3, 3, 5)
    want = quarter_turns(np.asarray(x), 6)
    for which in (0, 1):
        found = nth.derivatives(lambda x, which=which: sine_cosine(x)[which], x, 6)
        assert_parity(found, want[which])
    waves = [sine_cosine]
    for _ in range(4):
        waves.append(lambda x, f=waves[-1]: jax.jvp(f, (x,), (jnp.ones_like(x),))[1])
    assert_parity(jnp.stack([wave(x)[1] for wave in waves]), want[1][:5])


def test_reverse_over_forward_and_the_other_way_round():
    def both(x):
        s, c = sine_cosine(x)
        return jnp.sum(s * c**2)

    x = jnp.linspace(-3, 3, 5)
    want = jax.hessian(lambda x: jnp.sum(jnp.sin(x) * jnp.cos(x) ** 2))(x)
    for mode in (jax.jacfwd(jax.grad(both)), jax.jacrev(jax.jacfwd(both)), jax.jacrev(jax.grad(both))):
        assert_parity(mode(x), want)


def test_operators_of_taylor_mode():
    """Sums over directions, pairs of them and one direction inside of another, with both waves in use."""

    def fun(x):
        s, c = sine_cosine(jnp.array([[1.0, 2.0], [0.5, -1.0]]) @ x)
        return jnp.sum(s * jnp.roll(c, 1)) + sine(x[0]) * x[1] ** 3

    def plain(x):
        y = jnp.array([[1.0, 2.0], [0.5, -1.0]]) @ x
        return jnp.sum(jnp.sin(y) * jnp.roll(jnp.cos(y), 1)) + jnp.sin(x[0]) * x[1] ** 3

    x, weights = jnp.array([0.3, -0.8]), jnp.array([[2.0, 0.7], [0.1, -1.0]])
    assert_parity(nth.laplacian(fun, x), jnp.trace(jax.hessian(plain)(x)))
    assert_parity(nth.weighted_laplacian(fun, x, weights), jnp.sum(weights * jax.hessian(plain)(x)))
    assert_parity(nth.biharmonic(fun, x), nth.biharmonic(plain, x))
    assert_parity(nth.mixed_partial(fun, x, (2, 3)), nth.mixed_partial(plain, x, (2, 3)))


def test_a_derivative_takes_no_further_wave():
    """The sign of a half turn, which every wave ends with, is there once for each of the two, in all orders."""

    def third(x):
        return jax.grad(lambda x: jnp.sum(jax.jvp(sine, (x,), (x,))[1] ** 2))(x)

    text = jax.jit(third).lower(jnp.ones(8, jnp.float32)).compile().as_text()
    assert 1 <= text.count("shift-left(") <= 2


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_accelerators_get_their_own_waves(platform):
    traced = jax.jit(lambda x: sine_cosine(x)).trace(jnp.ones(8, jnp.float32))
    lowered = traced.lower(lowering_platforms=(platform,)).as_text()
    assert "stablehlo.sine" in lowered
    assert "stablehlo.cosine" in lowered
    assert "shift_left" not in lowered


def test_maps_and_refuses_integers():
    x = jnp.linspace(-3, 3, 12, dtype=jnp.float32).reshape(3, 4)
    np.testing.assert_array_equal(jax.vmap(sine_cosine)(x), sine_cosine(x))
    with pytest.raises(TypeError, match=r"(?s)x must have leaves that are real floating-point.*x: got int64\[3\]"):
        sine_cosine(jnp.arange(3))
