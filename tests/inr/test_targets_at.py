"""`inr.targets_at` against the whole field in torch, waves of known derivatives, SciPy's splines, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import CubicSpline

import torch_ref.inr
from jaxgrad.inr import image_targets, targets_at
from tests.bridge import assert_parity, to_torch
from tests.inr.pictures import Waves
from tests.turns import covering

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

POINTS = np.random.default_rng(1).uniform(-3.5, 3.5, (9, 2))
"""Within the picture and beyond its edges, where its mirror images follow."""


@pytest.mark.parametrize(("method", "shape"), covering(["spectral", "spline"], [(5, 8, 3), (6, 3)]))
def test_matches_torch(method, shape):
    image = np.random.default_rng(0).uniform(size=shape)
    got = targets_at(jnp.asarray(image), jnp.asarray(POINTS), method=method)
    assert_parity(tuple(got), torch_ref.inr.targets_at(to_torch(image), to_torch(POINTS), method=method))


@pytest.mark.parametrize("shape", [(5, 8), (6, 9)])
def test_a_band_limited_picture_comes_back_with_its_derivatives(shape):
    waves = Waves(*shape)
    image = jnp.asarray(waves.picture())
    got = targets_at(image, jnp.asarray(POINTS))
    assert_parity(tuple(got), (POINTS, *waves.at(POINTS)))
    for chunk in (4, 100):
        assert_parity(tuple(targets_at(image, jnp.asarray(POINTS), chunk=chunk)), tuple(got))


def test_a_spline_is_that_of_scipy():
    """SciPy's periodic cubic spline through the picture and its mirror image, along one axis and then the other."""
    image = np.random.default_rng(0).uniform(size=(6, 9))
    got = targets_at(jnp.asarray(image), jnp.asarray(POINTS), method="spline")

    def at(place, size, samples, order=0):
        closed = np.concatenate([samples, samples[::-1], samples[:1]])
        return (
            CubicSpline(np.arange(2 * size + 1), closed, bc_type="periodic")((place + 1) * (size - 1) / 2, order)
            * ((size - 1) / 2) ** order
        )

    def of(by_x, by_y):
        return np.array([at(y, 6, at(x, 9, image.T, by_x), by_y) for x, y in POINTS])

    assert_parity(got.values[:, 0], of(0, 0))
    assert_parity(got.gradients[:, 0], np.stack([of(1, 0), of(0, 1)], -1))
    assert_parity(got.laplacians[:, 0], of(2, 0) + of(0, 2))


@pytest.mark.parametrize("method", ["spectral", "spline"])
def test_at_the_pixels_it_is_image_targets(method):
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(4, 7, 2)))
    wanted = image_targets(image, method=method)
    got = targets_at(image, wanted.points.reshape(4, 7, 2), method=method)
    assert_parity(tuple(leaf.reshape(28, *leaf.shape[2:]) for leaf in got), tuple(wanted))


def test_float32_keeps_its_digits_on_a_wide_picture():
    image = np.random.default_rng(0).uniform(size=(3, 1024))
    points = np.random.default_rng(1).uniform(-1, 1, (64, 2)).astype(np.float32)
    exact = targets_at(jnp.asarray(image), jnp.asarray(points, jnp.float64))
    got = targets_at(jnp.asarray(image, jnp.float32), jnp.asarray(points))
    for mine, wanted in zip(got[1:], exact[1:], strict=True):
        assert mine.dtype == jnp.float32
        # a point in float32 is known to 3e-8 of a width of 1,024 half waves
        assert_parity(mine, wanted, tolerance=1e-4)


def test_half_precision_is_taken_in_float32():
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(4, 4)), jnp.bfloat16)
    got = targets_at(image, jnp.zeros((2, 2), jnp.float16))
    assert {leaf.dtype for leaf in got} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("points", "options", "error", "words"),
    [
        (np.ones((3, 3)), {}, ValueError, r"points must have shape \(\.\.\., 2\), x and y last; got float64\[3,3\]"),
        (np.ones((3, 2), int), {}, TypeError, r"points must .*floating-point[\s\S]*got int64\[3,2\]"),
        (np.ones((3, 2)), {"method": "central"}, ValueError, "method must be one of 'spectral', 'spline'"),
        (np.ones((3, 2)), {"chunk": 0}, ValueError, "chunk must be at least 1; got 0"),
        (np.ones((3, 2)), {"channels": 3}, ValueError, "channels=3 along its last axis"),
    ],
)
def test_refuses(points, options, error, words):
    with pytest.raises(error, match=words):
        targets_at(jnp.ones((4, 4)), points, **options)


def test_refuses_pictures_that_are_none():
    for image, words in ((jnp.ones((1, 4)), "at least 2 x 2"), (jnp.ones((3, 8, 8)), r"moveaxis\(image, 0, -1\)")):
        with pytest.raises(ValueError, match=words):
            targets_at(image, jnp.zeros((1, 2)))
    with pytest.raises(TypeError, match=r"write image / 255\.0"):
        targets_at(jnp.ones((4, 4), jnp.uint8), jnp.zeros((1, 2)))


def test_a_traced_chunk_is_refused():
    with pytest.raises(TypeError, match="chunk must be known when the function is traced"):
        jax.jit(lambda n: targets_at(jnp.ones((4, 4)), jnp.zeros((3, 2)), chunk=n))(2)
