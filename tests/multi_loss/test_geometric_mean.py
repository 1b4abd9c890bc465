"""`multi_loss.geometric_mean`: scales, zeros, and TorchJD."""

import jax
import numpy as np
import pytest

from jaxgrad.multi_loss import geometric_mean
from jaxgrad.verify._bridge import to_torch
from tests.multi_loss.scalarizers import LOSSES, evaluated

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


def test_each_loss_counts_by_its_relative_change():
    scales = np.array([1e-200, 1.0, 1e200])
    value, slope = jax.value_and_grad(geometric_mean)(LOSSES[0] * scales)
    np.testing.assert_allclose(value, evaluated("geometric_mean")[0][0], rtol=1e-12)
    np.testing.assert_allclose(slope * scales, evaluated("geometric_mean")[1][0], rtol=1e-12)


def test_a_loss_of_zero_is_the_least_there_is():
    """The derivative of the root is infinite there; that of the mean at its least is given as 0."""
    value, slope = jax.value_and_grad(geometric_mean)(np.array([0.0, 2.0]))
    assert value == 0
    np.testing.assert_array_equal(slope, 0)


def test_a_negative_loss_shows():
    assert np.isnan(geometric_mean(np.array([-1.0, 2.0])))
    assert np.isnan(geometric_mean(np.array([-1.0, 0.0])))


def test_agrees_with_torchjd():
    torchjd = pytest.importorskip("torchjd.scalarization")
    theirs = [torchjd.GeometricMean()(row) for row in to_torch(LOSSES)]
    np.testing.assert_allclose(evaluated("geometric_mean")[0], theirs, rtol=1e-12)
