"""`inr.image_targets` against a loop over pixels, a linear picture, and what it refuses."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import torch_ref.inr
from jaxgrad.inr import image_targets
from tests.bridge import assert_parity, to_torch

pytestmark = pytest.mark.usefixtures("compiled_quickly")


@pytest.mark.parametrize("method", ["central", "sobel"])
@pytest.mark.parametrize("shape", [(5, 7, 3), (4, 6), (2, 2, 1)])
def test_matches_torch(method, shape):
    image = np.random.default_rng(0).uniform(size=shape)
    got = image_targets(jnp.asarray(image), method=method)
    assert_parity(tuple(got), torch_ref.inr.image_targets(to_torch(image), method=method))


@pytest.mark.parametrize("method", ["central", "sobel"])
def test_a_linear_picture_has_its_own_slope_everywhere(method):
    x, y = np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 5))
    targets = image_targets(jnp.asarray(0.3 * x - 0.2 * y), method=method)
    assert_parity(targets.gradients, np.tile([[0.3, -0.2]], (45, 1, 1)))
    assert_parity(targets.values[:, 0], 0.3 * targets.points[:, 0] - 0.2 * targets.points[:, 1])


def test_points_go_row_by_row():
    points = image_targets(jnp.ones((2, 3))).points
    assert points.tolist() == [[-1, -1], [0, -1], [1, -1], [-1, 1], [0, 1], [1, 1]]


@pytest.mark.parametrize(
    ("image", "method", "error", "words"),
    [
        (jnp.ones((4, 4), jnp.uint8), "central", TypeError, r"got uint8\[4,4\]: write image / 255\.0"),
        (jnp.ones(4), "central", ValueError, r"shape \(H, W, C\) or \(H, W\).*float64\[4\]"),
        (jnp.ones((1, 4)), "central", ValueError, "at least 2 x 2 pixels"),
        (jnp.ones((4, 4), jnp.uint16), "central", TypeError, r"write image / 65535\.0"),
        ([[0.0, 0.5], [0.5, 1.0]], "central", TypeError, r"got a list: write jnp\.asarray\(image\)"),
        (Image.new("RGB", (4, 4)), "central", TypeError, r"image is a Image, not an array.*/ 255"),
        (jnp.ones((3, 8, 8)), "central", ValueError, r"jnp\.moveaxis\(image, 0, -1\), or channels=8"),
        (jnp.ones((4, 4)), "prewitt", ValueError, "method must be one of 'central', 'sobel'"),
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


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("method", ["central", "sobel"])
def test_a_picture_of_16_bits_is_taken_in_float32(dtype, method):
    """The targets are those of the same numbers in float32: a coordinate for every pixel of a wide picture."""
    picture = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 3000)), dtype)
    got = image_targets(picture, method=method)
    assert_parity(tuple(got), tuple(image_targets(picture.astype(jnp.float32), method=method)), dtypes=True)
    x = np.asarray(got.points[:3000, 0], np.float64)
    np.testing.assert_allclose(x, np.linspace(-1, 1, 3000), atol=2e-7)
