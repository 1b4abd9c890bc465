"""`inr.refined_targets` against the whole field in torch, waves of known derivatives, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.inr
from jaxgrad.inr import image_targets, refined_targets
from tests.bridge import assert_parity, to_torch
from tests.inr.pictures import Waves
from tests.turns import covering

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


@pytest.mark.parametrize(("method", "of"), covering(["spectral", "spline"], [((3, 5, 2), 2), ((4, 3), 3)]))
def test_matches_torch(method, of):
    shape, factor = of
    image = np.random.default_rng(0).uniform(size=shape)
    got = refined_targets(jnp.asarray(image), factor=factor, method=method)
    assert_parity(tuple(got), torch_ref.inr.refined_targets(to_torch(image), factor=factor, method=method))


@pytest.mark.parametrize(("shape", "factor"), [((5, 8), 4), ((6, 9), 3)])
def test_a_band_limited_picture_comes_back_with_its_derivatives(shape, factor):
    waves = Waves(*shape)
    got = refined_targets(jnp.asarray(waves.picture()), factor=factor)
    assert len(got.points) == factor**2 * shape[0] * shape[1]
    assert_parity(tuple(got[1:]), waves.at(got.points))


@pytest.mark.parametrize("method", ["spectral", "spline"])
def test_an_odd_factor_holds_the_pixels(method):
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(4, 5, 2)))
    fine = refined_targets(image, factor=3, method=method)
    picked = tuple(leaf.reshape(12, 15, *leaf.shape[1:])[1::3, 1::3].reshape(20, *leaf.shape[1:]) for leaf in fine)
    assert_parity(picked, tuple(image_targets(image, method=method)))


def test_the_cells_fill_the_picture():
    """Outer points lie half a cell inside the edges, which lie half a pixel outside of the centres."""
    x = refined_targets(jnp.ones((2, 5)), factor=4).points[:20, 0]
    step, edge = 2 / 4 / 4, 1 + 1 / 4
    np.testing.assert_allclose(x, np.linspace(-edge + step / 2, edge - step / 2, 20), atol=1e-14)


def test_refuses():
    image = jnp.ones((4, 4))
    with pytest.raises(ValueError, match="factor must be at least 1; got 0"):
        refined_targets(image, factor=0)
    with pytest.raises(TypeError, match=r"factor must be a Python integer.*got 1\.5"):
        refined_targets(image, factor=1.5)
    with pytest.raises(TypeError, match="factor must be known when the function is traced"):
        jax.jit(lambda n: refined_targets(image, factor=n))(2)
    with pytest.raises(ValueError, match="method must be one of 'spectral', 'spline'"):
        refined_targets(image, method="sobel")
    with pytest.raises(ValueError, match="at least 2 x 2 pixels"):
        refined_targets(jnp.ones((4, 1)))
