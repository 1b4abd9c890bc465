"""`inr.ceiling` against a dense least-squares fit, the measured table of four photographs, and refusals."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

import torch_ref.inr
from jaxgrad.inr import ceiling, image_targets, refined_targets
from tests.bridge import assert_parity, to_torch
from tests.inr.pictures import PHOTOGRAPHS, photograph

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

# decibels, in the order of PHOTOGRAPHS; measured apart from this code. docs/inr.md has them from the same file
FILE = Path(__file__).parents[2] / "bench" / "results" / "experiments.json"
RECORD = json.loads(FILE.read_text())["experiments"]["ceilings"]
METHODS = {"central": "central", "Sobel": "sobel", "five-point Laplacian": "five-point"}
TABLE = {
    (int(label.split(" x ")[0]), METHODS[label.split(", ")[1]]): [float(cell) for cell in decibels]
    for label, *decibels in RECORD["rows"]
}


@pytest.mark.parametrize("match", ["gradient", "laplacian"])
@pytest.mark.parametrize("method", ["central", "sobel", "spline"])
def test_matches_torch(match, method):
    image = np.random.default_rng(0).uniform(size=(5, 8, 2))
    targets = image_targets(jnp.asarray(image), method=method)
    want = torch_ref.inr.ceiling(to_torch(tuple(targets)), shape=(5, 8), match=match)
    assert_parity(ceiling(targets, shape=(5, 8), match=match), want)


@pytest.mark.parametrize("match", ["gradient", "laplacian"])
def test_any_targets_on_any_grid_match_torch(match):
    """Targets that come from no picture, on a finer grid, whose spacing the points tell."""
    targets = refined_targets(jnp.asarray(np.random.default_rng(0).uniform(size=(3, 4))), factor=2)
    rng = np.random.default_rng(1)
    moved = targets._replace(
        gradients=targets.gradients + rng.normal(size=targets.gradients.shape),
        laplacians=targets.laplacians + rng.normal(size=targets.laplacians.shape),
    )
    want = torch_ref.inr.ceiling(to_torch(tuple(moved)), shape=(6, 8), match=match)
    assert_parity(ceiling(moved, shape=(6, 8), match=match), want)


@pytest.mark.parametrize(
    ("size", "method"), [pytest.param(*key, marks=[pytest.mark.slow] * (key[0] == 128)) for key in TABLE]
)
def test_ceilings_of_the_photographs(size, method):
    assert (len(TABLE), RECORD["head"]) == (7, ["decibels", *PHOTOGRAPHS])
    for name, wanted in zip(PHOTOGRAPHS, TABLE[size, method], strict=True):
        image, shape = photograph(name, size), (size, size)
        if method == "five-point":
            # SciPy's, mirrored at the edges, in units of the coordinates
            bends = np.stack([ndimage.laplace(np.asarray(c), mode="reflect") for c in jnp.moveaxis(image, -1, 0)], -1)
            targets = image_targets(image)._replace(laplacians=bends.reshape(size**2, -1) * ((size - 1) / 2) ** 2)
            found = ceiling(targets, shape=shape, match="laplacian")
        else:
            found = ceiling(image_targets(image, method=method), shape=shape)
        assert abs(found - wanted) <= 0.05, (name, found)


@pytest.mark.parametrize("method", ["central", "sobel", "spectral"])
def test_gradient_and_laplacian_have_one_ceiling(method):
    """The best fit in least squares solves the Poisson equation of the divergence, which is the Laplacian given."""
    targets = image_targets(jnp.asarray(np.random.default_rng(0).uniform(size=(6, 9))), method=method)
    both = [ceiling(targets, shape=(6, 9), match=match) for match in ("gradient", "laplacian")]
    if method == "spectral":
        assert min(both) > 280
    else:
        assert_parity(*both)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_spectral_targets_have_none(dtype):
    image = photograph("astronaut", 64).astype(dtype)
    # the Laplacian's own rounding to float32 is 1e-5 of the lowest wave
    least = {"gradient": 120, "laplacian": 110 if dtype == jnp.float32 else 280}
    for match, bound in least.items():
        assert ceiling(image_targets(image, method="spectral"), shape=(64, 64), match=match) > bound
    fine = refined_targets(image, factor=2)
    assert ceiling(fine, shape=(128, 128)) > 120


def test_a_nan_pixel_shows():
    targets = image_targets(jnp.ones((4, 4)).at[1, 1].set(jnp.nan))
    assert np.isnan(ceiling(targets, shape=(4, 4)))


def test_refuses():
    image = jnp.ones((4, 6))
    targets = image_targets(image)
    with pytest.raises(TypeError, match=r"targets must be an ImageTargets; got float64\[4,6\]: write inr\.image_targ"):
        ceiling(image, shape=(4, 6))
    words = r"grid of shape=\(4, 5\)[\s\S]*targets\.gradients: got float64\[24,1,2\], expected \(20, 1, 2\)"
    with pytest.raises(ValueError, match=words):
        ceiling(targets, shape=(4, 5))
    with pytest.raises(ValueError, match=r"shape must be the pair \(rows, columns\)"):
        ceiling(targets, shape=24)
    with pytest.raises(ValueError, match=r"shape\[0\] must be at least 2; got 1"):
        ceiling(targets, shape=(1, 24))
    with pytest.raises(ValueError, match="match must be one of 'gradient', 'laplacian'"):
        ceiling(targets, shape=(4, 6), match="value")
    with pytest.raises(TypeError, match=r"shape\[0\] must be a Python integer that is known"):
        jax.jit(lambda n: ceiling(targets, shape=(n, 6)))(4)
