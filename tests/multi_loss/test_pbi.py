"""`multi_loss.pbi`: on the ray, off it, and TorchJD."""

import jax
import numpy as np
import pytest

from jaxgrad.multi_loss import pbi
from jaxgrad.verify._bridge import to_torch
from tests.multi_loss.scalarizers import LOSSES, START, WEIGHTS, evaluated

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


@pytest.mark.parametrize("length", [0.0, 1e-12, 0.7, 1e12])
def test_on_the_ray_the_distance_is_zero_and_has_no_derivative(length):
    """Products on the ray are rounded; what is left of them is no direction."""
    value, slope = jax.value_and_grad(pbi)(length * WEIGHTS, weights=WEIGHTS, penalty=5.0)
    norm = np.linalg.norm(WEIGHTS)
    np.testing.assert_allclose(value, length * norm, rtol=1e-14)
    np.testing.assert_allclose(slope, WEIGHTS / norm, rtol=1e-14)


def test_one_loss_is_itself():
    value, slope = jax.value_and_grad(pbi)(np.array([3.0]), weights=np.array([0.5]), penalty=5.0)
    assert (value, slope) == (3.0, 1.0)


def test_agrees_with_torchjd():
    """Which adds 1e-12 below a root."""
    torchjd = pytest.importorskip("torchjd.scalarization")
    theirs = torchjd.PBI(5.0, to_torch(WEIGHTS), to_torch(START))
    np.testing.assert_allclose(evaluated("pbi")[0], [theirs(row) for row in to_torch(LOSSES)], rtol=1e-10)


def test_rejects_a_negative_penalty():
    with pytest.raises(ValueError, match="penalty must not be negative"):
        pbi(LOSSES[0], weights=WEIGHTS, penalty=-1.0)
