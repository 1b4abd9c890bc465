"""`multi_loss.stch`: its limits, and TorchJD."""

import jax
import numpy as np
import pytest

from jaxgrad.multi_loss import stch
from jaxgrad.verify._bridge import to_torch
from tests.multi_loss.scalarizers import LOSSES, OPTIONS, evaluated

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


def test_between_the_maximum_and_the_mean():
    """Weights of 1/K where none are given."""
    heights = LOSSES[0] / 3
    value, slope = jax.value_and_grad(stch)(LOSSES[0], mu=1e-3)
    np.testing.assert_allclose(value, heights.max(), rtol=1e-12)
    np.testing.assert_allclose(slope, [0, 1 / 3, 0], atol=1e-12)
    far = stch(LOSSES[0], mu=1e6)
    np.testing.assert_allclose(far - 1e6 * np.log(3), heights.mean(), rtol=1e-6)


def test_equal_losses_share_the_derivative():
    np.testing.assert_allclose(jax.grad(stch)(np.ones(4), mu=1e-9), np.full(4, 1 / 16), rtol=1e-12)


def test_agrees_with_torchjd():
    torchjd = pytest.importorskip("torchjd.scalarization")
    theirs = torchjd.STCH(**to_torch(OPTIONS["stch"]))
    np.testing.assert_allclose(evaluated("stch")[0], [theirs(row) for row in to_torch(LOSSES)], rtol=1e-12)


@pytest.mark.parametrize("mu", [0.0, -1.0])
def test_rejects_what_is_not_positive(mu):
    with pytest.raises(ValueError, match="mu must"):
        stch(LOSSES[0], mu=mu)
