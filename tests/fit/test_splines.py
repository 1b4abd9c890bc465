"""A photograph fitted on a grid of splines, by its values, its gradient and its Laplacian."""

import jax
import numpy as np
import pytest
import skimage.data
import skimage.transform

from jaxgrad.fit._fit import fit_array
from jaxgrad.fit._settings import Settings

pytestmark = pytest.mark.either_lane

STEPS = 100


@pytest.mark.parametrize(
    ("match", "least"),
    [
        pytest.param("value", 30, marks=pytest.mark.slow),
        pytest.param("gradient", 30, marks=pytest.mark.slow),
        ("laplacian", 25),
    ],
)
def test_a_short_fit_comes_near_the_picture(match, least):
    """Decibels after 100 steps; a field of one colour is at 11."""
    picture = skimage.transform.resize(skimage.data.camera(), (20, 24), anti_aliasing=True)[..., None]
    settings = Settings(match, "spline", steps=STEPS, size=(20, 24), points=512, width=16, layers=1)
    # as the command runs: in float32, with JAX's own rules
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"), jax.enable_x64(False):
        fitted = fit_array(picture.astype(np.float32), settings)
    assert fitted.state.quality[-1] > least
