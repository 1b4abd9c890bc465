"""`multi_loss.sdmgrad`: its two ends, preferences, and TorchJD."""

import numpy as np
import pytest

from jaxgrad.multi_loss import sdmgrad
from jaxgrad.verify._bridge import to_torch
from tests.multi_loss.stateful_weightings import GRAMS, PRODUCTS, run

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


def test_between_the_shortest_vector_and_the_preferences():
    preferences = np.array([0.7, 0.2, 0.1])
    short = sdmgrad(strength=0.0, learning_rate=0.2, num_steps=3000)
    weights = np.asarray(short.update(GRAMS[0], short.init(3))[0])
    slopes = GRAMS[0] @ weights
    assert slopes.min() >= weights @ slopes - 1e-8
    np.testing.assert_allclose(slopes[weights > 0], weights @ slopes, atol=1e-8)
    drawn = sdmgrad(strength=1e9, preferences=preferences, learning_rate=1e-12)
    np.testing.assert_allclose(drawn.update(GRAMS[0], drawn.init(3))[0], preferences, atol=1e-8)


def test_weights_stay_where_no_gradient_points_along_itself():
    made = sdmgrad()
    weights, _ = made.update(-GRAMS[0], made.init(3))
    np.testing.assert_allclose(weights, 1 / 3, rtol=1e-14)


def test_agrees_with_torchjd():
    """Which adds 1e-8 to the squared length."""
    torchjd = pytest.importorskip("torchjd.aggregation")
    theirs = torchjd.SDMGradWeighting(lr=0.5, momentum=0.5, n_iter=6, lambda_=0.3)
    np.testing.assert_allclose(run("sdmgrad")[0], [theirs(to_torch(one)).numpy() for one in PRODUCTS], rtol=1e-6)


def test_rejects_wrong_options():
    for options, message in (
        ({"strength": -1.0}, "strength must not be negative"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"num_steps": 0}, "num_steps must be at least 1; got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            sdmgrad(**options)
    made = sdmgrad(preferences=np.ones(2))
    with pytest.raises(ValueError, match="preferences must hold one number for each of the 3 losses"):
        made.update(GRAMS[0], made.init(3))
