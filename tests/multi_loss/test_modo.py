"""`multi_loss.modo`: where it settles, the projection, and TorchJD."""

import jax
import numpy as np
import pytest

from jaxgrad.multi_loss import modo
from jaxgrad.multi_loss._stateful import project
from jaxgrad.verify._bridge import to_torch
from tests.multi_loss.stateful_weightings import GRAMS, PRODUCTS, run

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


def test_settles_at_the_shortest_vector_on_one_batch():
    """Without what draws the weights to be equal."""
    made = modo(learning_rate=0.5 / np.trace(GRAMS[0]), regularization=0.0)

    def step(state, _):
        return made.update(GRAMS[0], state)[1], None

    state = jax.jit(lambda state: jax.lax.scan(step, state, None, length=2000)[0])(made.init(3))
    slopes = GRAMS[0] @ state.weights
    assert slopes.min() >= state.weights @ slopes - 1e-8
    np.testing.assert_allclose(slopes[np.asarray(state.weights) > 0], state.weights @ slopes, atol=1e-8)


@pytest.mark.parametrize(
    ("point", "want"),
    [
        ([0.2, 0.3, 0.5], [0.2, 0.3, 0.5]),
        ([5.0, 0.0, 1.0], [1.0, 0.0, 0.0]),
        ([-1.0, -1.0, -4.0], [0.5, 0.5, 0.0]),
        ([0.6, 0.6, 0.0], [0.5, 0.5, 0.0]),
        ([7.0], [1.0]),
    ],
)
def test_the_projection_onto_the_simplex(point, want):
    np.testing.assert_allclose(project(np.array(point)), want, atol=1e-15)


def test_agrees_with_torchjd():
    torchjd = pytest.importorskip("torchjd.aggregation")
    theirs = torchjd.MoDoWeighting(gamma=0.05, rho=0.2)
    np.testing.assert_allclose(run("modo")[0], [theirs(to_torch(one)).numpy() for one in PRODUCTS], rtol=1e-12)


def test_rejects_wrong_options():
    with pytest.raises(ValueError, match="learning_rate must be positive"):
        modo(learning_rate=0.0)
    with pytest.raises(ValueError, match="regularization must not be negative"):
        modo(regularization=-0.1)
