"""`multi_loss.cosmos`: the cosine, what is zero, and TorchJD."""

import jax
import numpy as np
import pytest

from jaxgrad.multi_loss import cosmos
from jaxgrad.verify._bridge import to_torch
from tests.multi_loss.scalarizers import LOSSES, OPTIONS, WEIGHTS, evaluated

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


def test_losses_along_the_weights_have_the_cosine_1():
    np.testing.assert_allclose(cosmos(3 * WEIGHTS, weights=WEIGHTS, penalty=2.0), 3 * WEIGHTS @ WEIGHTS - 2)


def test_losses_of_zero_have_no_direction():
    """Weights of zero have none either, and are refused: `test_preferences`."""
    value, slope = jax.value_and_grad(cosmos)(np.zeros(3), weights=WEIGHTS, penalty=2.0)
    assert value == 0
    np.testing.assert_array_equal(slope, WEIGHTS)


def test_agrees_with_torchjd():
    torchjd = pytest.importorskip("torchjd.scalarization")
    theirs = torchjd.COSMOS(OPTIONS["cosmos"]["penalty"], to_torch(WEIGHTS))
    np.testing.assert_allclose(evaluated("cosmos")[0], [theirs(row) for row in to_torch(LOSSES)], rtol=1e-12)


def test_rejects_a_negative_penalty():
    with pytest.raises(ValueError, match="penalty must not be negative"):
        cosmos(LOSSES[0], weights=WEIGHTS, penalty=-1.0)
