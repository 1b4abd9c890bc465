"""`multi_loss.dual_projection` against the conditions on every face, preferences, and TorchJD."""

import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.multi_loss
from jaxgrad.multi_loss import dual_projection
from jaxgrad.verify._bridge import to_torch
from tests.multi_loss.gram_rules import FAMOUS, ROWS, vectors

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


@pytest.mark.parametrize("matrix", [name for name in ROWS if name not in {"of mixed lengths", "all zeros"}])
def test_matches_torch(matrix):
    rows = ROWS[matrix]
    want = torch_ref.multi_loss.dual_projection(to_torch(rows @ rows.T)).numpy() @ rows
    np.testing.assert_allclose(vectors("dual_projection", matrix), want, rtol=0, atol=1e-10 * np.abs(rows).max())


@pytest.mark.slow  # the example of the docstring has it
def test_known_answer():
    weights = dual_projection(FAMOUS @ FAMOUS.T)
    np.testing.assert_allclose(weights, [11 / 18, 1 / 2], atol=1e-14)


def test_preferences_are_what_is_projected():
    rows = ROWS["in conflict"]
    preferences = np.array([0.2, 1.5, 0.1])
    weights = dual_projection(rows @ rows.T, preferences=preferences)
    want = torch_ref.multi_loss.dual_projection(to_torch(rows @ rows.T), preferences=to_torch(preferences)).numpy()
    np.testing.assert_allclose(weights, want, atol=1e-10)
    # gradients that do not conflict are left as they are
    np.testing.assert_allclose(dual_projection(jnp.eye(3), preferences=preferences), preferences)


def test_agrees_with_torchjd():
    torchjd, linalg = pytest.importorskip("torchjd.aggregation"), pytest.importorskip("torchjd.linalg")
    plain = linalg.QuadprogProjector(norm_eps=0.0, reg_eps=0.0)
    for matrix in ("drawn 0", "drawn 1", "in conflict", "lengths a"):
        gram = ROWS[matrix] @ ROWS[matrix].T
        theirs = torchjd.DualProjWeighting(projector=plain)(to_torch(gram)).numpy()
        np.testing.assert_allclose(dual_projection(gram), theirs, atol=1e-10)


def test_rejects_wrong_preferences():
    with pytest.raises(
        ValueError, match=r"preferences must hold one number for each of the 2 losses.*got float64\[3\]"
    ):
        dual_projection(jnp.eye(2), preferences=jnp.ones(3))
