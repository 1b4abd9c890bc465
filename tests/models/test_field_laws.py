"""The initial weights of the fields have the laws of their papers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx as flax_nnx

from jaxgrad.models import _fields, _siren, linen, nnx

WIDTH = 256
COUNT = 4096
KEY = jax.random.key(0)

# drawn once, in many shapes: what XLA would make faster is not worth making
pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


def drawn(draw, *shape):
    return np.asarray(draw(KEY, shape, jnp.float32))


def layer(x, draws, outputs, key):
    """Apply a layer of that law to rows."""
    kernel, bias = jax.random.split(key)
    weight = draws.kernel(kernel, (x.shape[-1], outputs), jnp.float32)
    return x @ np.asarray(weight) + np.asarray(draws.bias(bias, (1, outputs), jnp.float32))


def through(sizes, draws, activation, x=None):
    """Return what goes into each activation, and what comes out."""
    x = np.random.default_rng(0).uniform(-1, 1, (COUNT, sizes[0])).astype(np.float32) if x is None else x
    into, out = [], []
    for size, drawn_by, key in zip(sizes[1:], draws, jax.random.split(KEY, len(draws)), strict=True):
        into.append(layer(x, drawn_by, size, key))
        x = np.asarray(activation(into[-1]))
        out.append(x)
    return into, out


@pytest.mark.parametrize(("name", "options"), [("Siren", {"hidden_omega": 5.0}), ("Finer", {"first_bias": 20.0})])
def test_sine_layers_are_drawn_within_their_bounds(name, options):
    sizes, omega = (3, 50, 40, 2), options.get("hidden_omega", 30.0)
    module = getattr(nnx, name)(sizes, rngs=flax_nnx.Rngs(0), **options)
    first = options.get("first_bias", 3**-0.5)
    limits = [(1 / 3, first), ((6 / 50) ** 0.5 / omega, 50**-0.5), ((6 / 40) ** 0.5 / omega, 40**-0.5)]
    for found, (weight, bias) in zip(module.layers, limits, strict=True):
        for array, limit in ((found.kernel[...], weight), (found.bias[...], bias)):
            assert np.abs(array).max() <= limit * (1 + 1e-6)
            # of n uniform numbers the largest is 1 / n below the end, on average
            assert np.abs(array).max() >= limit * (1 - 10 / array.size)


def test_a_siren_keeps_its_distributions_through_depth():
    sizes = (2, *[WIDTH] * 6)
    into, out = through(sizes, _siren.siren_layers(sizes, 30.0), lambda x: np.sin(30 * x))
    # Sitzmann et al. (2020), theorem 1.8: standard normal before the sine, arcsine behind it. Their proof leaves the
    # biases out; those add omega^2 / (3 n) to the variance of the phase, 1.17 here
    for before, after in zip(into[1:], out[1:], strict=True):
        phase = np.std(30 * before)
        assert phase == pytest.approx((1 + 900 / (3 * WIDTH)) ** 0.5, rel=0.05)
        assert np.mean(after**2) == pytest.approx(0.5, abs=0.03)
        assert np.mean(np.abs(after) > 0.9) == pytest.approx(2 / np.pi * np.arccos(0.9), abs=0.03)


def test_a_layer_of_relus_halves_the_mean_square():
    sizes = (WIDTH, *[WIDTH] * 5)
    start = np.random.default_rng(0).normal(size=(COUNT, WIDTH)).astype(np.float32)
    _, out = through(sizes, _siren.glorot_layers(sizes), lambda x: np.maximum(x, 0), start)
    assert [np.mean(x**2) * 2**k for k, x in enumerate(out, 1)] == pytest.approx([1.0] * 5, rel=0.25)


def test_a_sum_of_sines_is_standard_normal_whatever_its_input():
    terms, draws = 5, _siren.sinusoid_draws(5, 30.0)
    keys = jax.random.split(jax.random.key(1), 3)
    numbers = [draw(key, (40_000, terms), jnp.float32) for key, draw in zip(keys, draws.values(), strict=True)]
    amplitudes, frequencies, phases = map(np.asarray, numbers)
    for x in (0.0, 0.3, 17.0):
        value = (amplitudes * np.sin(frequencies * x + phases)).sum(-1)
        # moments of a standard normal number; of 40,000 the fourth is off by 0.05
        assert [np.mean(value**k) for k in (1, 2, 3, 4)] == pytest.approx([0, 1, 0, 3], abs=0.2)
    assert frequencies.min() >= 0
    assert frequencies.max() <= 30
    assert np.abs(phases).max() <= np.pi
    # Morabbi et al. (2025), theorem 3: E C^2 = 2 / terms, E C^4 = 8 / terms^2
    assert [np.mean(amplitudes**k) for k in (2, 4)] == pytest.approx([2 / 5, 8 / 25], rel=0.03)


def test_random_frequencies_are_normal_with_the_scale():
    shape = nnx.FourierFeatures((2, 4, 1), frequencies=20_000, scale=3.0, rngs=flax_nnx.Rngs(0)).frequencies[...]
    assert np.std(shape) == pytest.approx(3.0, rel=0.02)
    assert np.mean(shape) == pytest.approx(0.0, abs=0.05)


def test_features_of_random_frequencies_have_a_kernel_of_the_distance():
    # Rahimi and Recht (2007): the mean over frequencies of the product is exp(-2 pi^2 s^2 |p - q|^2)
    frequencies = np.random.default_rng(0).normal(size=(2, 40_000)) * 0.5
    p, q = np.array([[0.1, 0.2]]), np.array([[0.3, -0.1]])
    one, other = (np.asarray(_fields.fourier_features(jnp.asarray(x), jnp.asarray(frequencies))) for x in (p, q))
    want = np.exp(-2 * np.pi**2 * 0.25 * np.sum((p - q) ** 2))
    assert (one @ other.T).item() / 40_000 == pytest.approx(want, abs=0.02)


@pytest.mark.parametrize("name", ["GaussianField", "Wire"])
def test_gaussian_and_gabor_layers_are_drawn_as_torch_draws_them(name):
    network = getattr(linen, name)((2, 64, 64, 3))
    params = network.init(KEY, jnp.ones((1, 2), jnp.float32))["params"]
    inputs = {"layers_0": 2, "layers_1": 64, "layers_2": 64}
    for owner, n in inputs.items():
        for array in jax.tree.leaves(params[owner]):
            assert np.abs(array).max() <= n**-0.5
            assert np.abs(array).max() >= n**-0.5 * (1 - 10 / array.size)


@pytest.mark.parametrize(
    ("name", "options", "inputs"),
    [
        ("HashGrid", {"levels": 4, "table_size": 256}, 8),
        ("PositionalReLU", {"octaves": 3}, 14),
        ("FourierFeatures", {"frequencies": 16}, 32),
    ],
)
def test_weights_of_relu_networks_are_drawn_within_their_bounds(name, options, inputs):
    params = getattr(linen, name)((2, 64, 3), **options).init(KEY, jnp.ones((1, 2), jnp.float32))["params"]
    for owner, total in (("layers_0", inputs + 64), ("layers_1", 64 + 3)):
        kernel = np.asarray(params[owner]["kernel"])
        assert 0.95 * (6 / total) ** 0.5 <= np.abs(kernel).max() <= (6 / total) ** 0.5
        assert not params[owner]["bias"].any()
    if name == "HashGrid":
        assert 0.99e-4 <= np.abs(np.asarray(params["entries"])).max() <= 1e-4


def test_waves_alone_could_not_tell_one_border_from_the_other():
    both = np.asarray(_fields.octaves(jnp.array([[-1.0], [1.0]]), 4))
    np.testing.assert_allclose(both[0, 1:], both[1, 1:], atol=1e-12)
    assert both[0, 0] != both[1, 0]


def test_wire_has_no_complex_leaf_and_its_gabor_is_the_complex_one():
    params = jax.eval_shape(linen.Wire((2, 4, 4, 1)).init, KEY, jnp.ones((1, 2), jnp.float32))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"float32"}
    z = np.random.default_rng(0).normal(size=(2, 6))
    real, imag = _fields.gabor(jnp.asarray(z[0]), jnp.asarray(z[1]), 3.0, 2.0)
    whole = z[0] + 1j * z[1]
    np.testing.assert_allclose(
        np.asarray(real) + 1j * np.asarray(imag), np.exp(3j * whole - np.abs(2 * whole) ** 2), rtol=1e-12
    )
