"""`inr.sine`: its error bound in float32, exact in float64, its derivatives, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.inr
from jaxgrad.inr import sine
from jaxgrad.inr._sine_cosine import PI, SINE
from tests.bridge import assert_parity, to_jax, to_torch
from tests.turns import one_in

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def arguments(bound):
    """Return numbers up to a bound, a tenth of them next to multiples of a quarter of pi."""
    rng = np.random.default_rng(0)
    anywhere, near = rng.uniform(-bound, bound, 900_000), rng.uniform(-bound, bound, 100_000)
    return np.concatenate([anywhere, np.round(near / np.pi * 4) * np.pi / 4]).astype(np.float32)


@jax.jit
def wave_and_slopes(x):
    """Return the sine and its first three derivatives."""
    found = [sine]
    for _ in range(3):
        found.append(lambda x, f=found[-1]: jax.jvp(f, (x,), (jnp.ones_like(x),))[1])
    return [f(x) for f in found]


@pytest.mark.parametrize("bound", one_in(2, [1.0, 100.0, 1e4, 1e5, 1e6, 1e7, 1e8, 1e30], 1))
def test_error_in_float32(bound):
    x = arguments(bound)
    exact = x.astype(np.float64)
    wanted = [np.sin(exact), np.cos(exact), -np.sin(exact), -np.cos(exact)]
    allowed = 1.3e-7 + (2.0**-23 * np.abs(exact) if bound > 1e5 else 0)
    for got, want in zip(wave_and_slopes(x), wanted, strict=True):
        assert got.dtype == jnp.float32
        assert (np.abs(np.asarray(got) - want) <= allowed).all()
        assert np.abs(got).max() <= 1


def test_float64_is_that_of_torch():
    x = np.random.default_rng(0).uniform(-100, 100, 1000)
    assert_parity(sine(to_jax(x)), torch_ref.inr.sine(to_torch(x)), tolerance=1e-15)


def test_low_precision_is_rounded_once():
    x = jnp.asarray(arguments(100.0)[:1000], jnp.bfloat16)
    wanted = jnp.asarray(np.sin(np.asarray(x, np.float64)), jnp.bfloat16)
    np.testing.assert_array_equal(np.asarray(sine(x), np.float32), np.asarray(wanted, np.float32))


def test_special_values():
    x = jnp.array([0.0, np.nan, np.inf, -np.inf], jnp.float32)
    np.testing.assert_array_equal(sine(x), np.array([0.0, np.nan, np.nan, np.nan], np.float32))


def test_parts_of_pi():
    first, second, third = map(float, PI)
    assert abs(np.pi - first - second - third) < 4e-13
    assert (first * 64).is_integer()
    assert first * 64 < 256
    assert (second * 2**18).is_integer()
    assert second * 2**18 < 256


def test_the_polynomial_on_its_interval():
    r = np.linspace(-1.58, 1.58, 10_001)
    z = r * r
    assert np.abs(r + r * z * np.polyval(np.float64(SINE[::-1]), z) - np.sin(r)).max() < 2.1e-8


def test_maps_and_differentiates_in_reverse():
    x = jnp.linspace(-3, 3, 12, dtype=jnp.float32).reshape(3, 4)
    np.testing.assert_array_equal(jax.vmap(sine)(x), sine(x))
    got = jax.grad(lambda x: jnp.sum(sine(x) ** 2))(x)
    np.testing.assert_allclose(got, np.sin(2 * np.asarray(x, np.float64)), atol=3e-7)


def test_rejects_integers():
    with pytest.raises(TypeError, match=r"(?s)x must have leaves that are real floating-point.*x: got int64\[3\]"):
        sine(jnp.arange(3))
