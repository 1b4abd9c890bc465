"""`inr.image_targets` against a loop over pixels, pictures of known derivatives, and what it refuses."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from PIL import Image

import torch_ref.inr
from jaxgrad.inr import image_targets
from tests.bridge import assert_parity, to_torch
from tests.inr.pictures import Waves, grid
from tests.turns import covering

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


METHODS = ["central", "sobel", "spline", "spectral"]


@pytest.mark.parametrize(("method", "shape"), covering(METHODS, [(5, 7, 3), (4, 6), (2, 2, 1)]))
def test_matches_torch(method, shape):
    image = np.random.default_rng(0).uniform(size=shape)
    got = image_targets(jnp.asarray(image), method=method)
    assert_parity(tuple(got), torch_ref.inr.image_targets(to_torch(image), method=method))


@pytest.mark.parametrize("method", METHODS)
def test_the_twins_stay_on_the_device_of_the_picture(method):
    """Whatever torch's default is."""
    image = torch.rand((4, 5, 1), dtype=torch.float64)
    with torch.device("meta"):
        targets = torch_ref.inr.image_targets(image, method=method)
        assert {tensor.device.type for tensor in targets} == {"cpu"}
        if method in ("spline", "spectral"):
            refined = torch_ref.inr.refined_targets(image, factor=2, method=method)
            assert {tensor.device.type for tensor in refined} == {"cpu"}
        assert torch_ref.inr.ceiling(targets, shape=(4, 5)).device.type == "cpu"


@pytest.mark.parametrize("shape", [(5, 8), (6, 9)])
def test_spectral_derivatives_are_those_of_a_band_limited_picture(shape):
    """Every cosine up to the last, odd and even sizes, not square."""
    waves = Waves(*shape)
    got = image_targets(jnp.asarray(waves.picture()), method="spectral")
    assert_parity(tuple(got), (grid(*shape), *waves.at(grid(*shape))))


@pytest.mark.parametrize(("method", "order"), [("central", 2), ("sobel", 2), ("spline", 4)])
def test_others_converge_to_the_derivatives_of_a_smooth_picture(method, order):
    """Halving the pixels divides the error of the gradient by 2^order; the picture goes on evenly at its edges."""

    def error(size):
        x, y = grid(size, 2 * size).T
        u, v = ((c * (n - 1) / n + 1) / 2 for c, n in ((x, 2 * size), (y, size)))
        image = np.cos(np.pi * u) * np.cos(2 * np.pi * v)
        slope = -np.pi * np.sin(np.pi * u) * np.cos(2 * np.pi * v) * (2 * size - 1) / (4 * size)
        got = image_targets(jnp.asarray(image.reshape(size, 2 * size)), method=method).gradients[:, 0, 0]
        return np.linalg.norm(got - slope) / np.linalg.norm(slope)

    np.testing.assert_allclose(error(16) / error(32), 2**order, rtol=0.05)


@pytest.mark.parametrize("method", ["central", "sobel"])
def test_a_linear_picture_has_its_own_slope_but_for_its_edges(method):
    """Beyond the edge the picture turns back, so there the central difference is half the slope."""
    x, y = np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 5))
    targets = image_targets(jnp.asarray(0.3 * x - 0.2 * y), method=method)
    wanted = np.tile([0.3, -0.2], (5, 9, 1))
    wanted[:, [0, -1], 0] /= 2
    wanted[[0, -1], :, 1] /= 2
    assert_parity(targets.gradients.reshape(5, 9, 2), wanted)
    assert_parity(targets.values[:, 0], 0.3 * targets.points[:, 0] - 0.2 * targets.points[:, 1])


@pytest.mark.parametrize("method", METHODS)
def test_nothing_of_one_border_shows_at_the_other(method):
    """A step at the left edge: a periodic continuation would repeat it at the right one."""
    image = np.zeros((4, 64))
    image[:, :4] = 1.0
    targets = image_targets(jnp.asarray(image), method=method)
    slopes = np.abs(targets.gradients.reshape(4, 64, 2)[..., 0])
    # the sum of waves rings from the step on, the slower the nearer: at the far edge less than near the middle
    assert slopes[:, -4:].max() <= 0.02 * slopes.max()
    assert slopes[:, -4:].max() <= slopes[:, 28:36].max()


@pytest.mark.parametrize("method", ["central", "sobel", "spectral"])
def test_the_laplacian_is_the_divergence_of_the_gradient(method):
    """By matrices: samples of an odd sum of sines to its derivative, along each axis."""
    shape = 5, 8
    targets = image_targets(jnp.asarray(np.random.default_rng(1).uniform(size=shape)), method=method)
    by_x, by_y = np.moveaxis(np.asarray(targets.gradients).reshape(*shape, 2), -1, 0)
    down, across = (_slope_of_sines(size) for size in shape)
    assert_parity(targets.laplacians.reshape(shape), by_x @ across.T + down @ by_y)


def _slope_of_sines(size):
    angles = np.pi / size * np.outer(np.arange(size) + 0.5, np.arange(1, size + 1))
    frequencies = np.pi * np.arange(1, size + 1) * (size - 1) / (2 * size)
    return np.cos(angles) * frequencies @ np.linalg.inv(np.sin(angles))


def test_a_nan_pixel_shows():
    image = jnp.ones((5, 6)).at[1, 2].set(jnp.nan)
    targets = image_targets(image)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(targets.gradients).any((1, 2))), [2, 7, 9, 14])
    assert np.isnan(image_targets(image, method="spectral").gradients.reshape(5, 6, 2)[1, :, 0]).all()


def test_points_go_row_by_row():
    points = image_targets(jnp.ones((2, 3))).points
    assert points.tolist() == [[-1, -1], [0, -1], [1, -1], [-1, 1], [0, 1], [1, 1]]


@pytest.mark.parametrize(
    ("image", "method", "error", "words"),
    [
        (np.ones((4, 4), jnp.uint8), "central", TypeError, r"got uint8\[4,4\]: write image / 255\.0"),
        (np.ones(4), "central", ValueError, r"shape \(H, W, C\) or \(H, W\).*float64\[4\]"),
        (np.ones((1, 4)), "central", ValueError, "at least 2 x 2 pixels"),
        (np.ones((1, 1)), "spectral", ValueError, r"at least 2 x 2 pixels; got float64\[1,1\]"),
        (np.ones((4, 4), jnp.uint16), "central", TypeError, r"write image / 65535\.0"),
        ([[0.0, 0.5], [0.5, 1.0]], "central", TypeError, r"got a list: write jnp\.asarray\(image\)"),
        (Image.new("RGB", (4, 4)), "central", TypeError, r"image is a Image, not an array.*/ 255"),
        (np.ones((3, 8, 8)), "central", ValueError, r"jnp\.moveaxis\(image, 0, -1\), or channels=8"),
        (np.ones((4, 4)), "prewitt", ValueError, "method must be one of 'central', 'sobel', 'spline', 'spectral'"),
    ],
)
def test_refuses(image, method, error, words):
    with pytest.raises(error, match=words):
        image_targets(image, method=method)


def test_channels_say_what_is_meant():
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(3, 8, 8)))
    want = torch_ref.inr.image_targets(to_torch(image), channels=8)
    assert_parity(tuple(image_targets(image, channels=8)), want)
    with pytest.raises(ValueError, match="channels=3 along its last axis"):
        image_targets(image, channels=3)


@pytest.mark.parametrize(("dtype", "method"), covering([jnp.float16, jnp.bfloat16], ["central", "spectral"]))
def test_a_picture_of_16_bits_is_taken_in_float32(dtype, method):
    """The targets are those of the same numbers in float32: a coordinate for every pixel of a wide picture."""
    picture = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 3000)), dtype)
    got = image_targets(picture, method=method)
    assert_parity(tuple(got), tuple(image_targets(picture.astype(jnp.float32), method=method)), dtypes=True)
    x = np.asarray(got.points[:3000, 0], np.float64)
    np.testing.assert_allclose(x, np.linspace(-1, 1, 3000), atol=2e-7)
