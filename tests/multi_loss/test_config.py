"""`multi_loss.config` against the pseudo-inverse of rows, equal cosines, and TorchJD."""

import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.multi_loss
from jaxgrad.multi_loss import config
from jaxgrad.verify._bridge import to_torch
from tests.multi_loss.gram_rules import FAMOUS, ROWS, vectors

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


@pytest.mark.parametrize("matrix", [name for name in ROWS if name not in {"of mixed lengths", "all zeros"}])
def test_matches_torch(matrix):
    rows = ROWS[matrix]
    want = torch_ref.multi_loss.config(to_torch(rows @ rows.T)).numpy() @ rows
    np.testing.assert_allclose(vectors("config", matrix), want, rtol=0, atol=1e-10 * np.abs(rows).max())


@pytest.mark.slow  # the example of the docstring has it
def test_known_answer():
    np.testing.assert_allclose(config(FAMOUS @ FAMOUS.T) @ FAMOUS, [0.158809, 2.0706068, 2.0706068], atol=1e-7)


@pytest.mark.parametrize("preferences", [np.ones(3), np.array([1.0, 2.0, 0.5])])
def test_cosines_are_as_preferred(preferences):
    rows = ROWS["in conflict"]
    vector = config(rows @ rows.T, preferences=preferences) @ rows
    slopes = rows @ vector / np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(slopes / preferences, slopes[0] / preferences[0], rtol=1e-10)
    assert np.linalg.norm(vector) == pytest.approx((rows @ vector).sum() / np.linalg.norm(vector))
    want = torch_ref.multi_loss.config(to_torch(rows @ rows.T), preferences=to_torch(preferences)).numpy()
    np.testing.assert_allclose(vector, want @ rows, atol=1e-10)


def test_agrees_with_torchjd():
    torchjd = pytest.importorskip("torchjd.aggregation")
    for matrix in ("drawn 0", "in conflict", "lengths a", "of rank 2", "with a row of zeros"):
        theirs = torchjd.ConFIG()(to_torch(ROWS[matrix])).numpy()
        np.testing.assert_allclose(vectors("config", matrix), theirs, atol=1e-10)


def test_rejects_wrong_preferences():
    with pytest.raises(ValueError, match=r"preferences must hold one number for each of the 2 losses"):
        config(jnp.eye(2), preferences=jnp.ones(3))
