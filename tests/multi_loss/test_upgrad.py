"""`multi_loss.upgrad` against the conditions on every face, preferences, many losses, and TorchJD."""

import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.multi_loss
from jaxgrad.multi_loss import upgrad
from jaxgrad.verify._bridge import to_torch
from tests.multi_loss.gram_rules import FAMOUS, ROWS, vectors

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


@pytest.mark.parametrize("matrix", [name for name in ROWS if name not in {"of mixed lengths", "all zeros"}])
def test_matches_torch(matrix):
    rows = ROWS[matrix]
    want = torch_ref.multi_loss.upgrad(to_torch(rows @ rows.T)).numpy() @ rows
    np.testing.assert_allclose(vectors("upgrad", matrix), want, rtol=0, atol=1e-10 * np.abs(rows).max())


@pytest.mark.slow  # the example of the docstring has it
def test_known_answer():
    weights = upgrad(FAMOUS @ FAMOUS.T)
    np.testing.assert_allclose(weights, [10 / 9, 15 / 19], atol=1e-14)
    np.testing.assert_allclose(weights @ FAMOUS, [0.29239766, 1.9005848, 1.9005848], atol=1e-7)


def test_preferences_weigh_the_projections():
    rows = ROWS["in conflict"]
    preferences = np.array([0.2, 1.5, 0.0])
    weights = upgrad(rows @ rows.T, preferences=preferences)
    each = [upgrad(rows @ rows.T, preferences=one) for one in np.eye(3)]
    np.testing.assert_allclose(weights, preferences @ np.stack(each), atol=1e-12)
    want = torch_ref.multi_loss.upgrad(to_torch(rows @ rows.T), preferences=to_torch(preferences)).numpy()
    np.testing.assert_allclose(weights, want, atol=1e-10)


@pytest.mark.parametrize("count", [9, pytest.param(32, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dimension", [4, 40])
def test_many_gradients_satisfy_the_conditions(count, dimension):
    """Of each projection alone: weights rise from the row's, and only where the gradient's product is zero."""
    rows = np.random.default_rng(1).normal(size=(count, dimension)) + 0.3
    gram = rows @ rows.T
    for own in (np.eye(count)[0], np.eye(count)[-1]):
        weights = np.asarray(upgrad(gram, preferences=own))
        slopes = gram @ weights
        assert (weights >= own - 1e-14).all()
        assert slopes.min() >= -1e-11 * gram.max()
        np.testing.assert_allclose(slopes[weights > own + 1e-12], 0, atol=1e-11 * gram.max())


def test_agrees_with_torchjd():
    """With its regularisation left out: its default adds 1e-4 of the trace to the diagonal, another program."""
    torchjd, linalg = pytest.importorskip("torchjd.aggregation"), pytest.importorskip("torchjd.linalg")
    plain = linalg.QuadprogProjector(norm_eps=0.0, reg_eps=0.0)
    for matrix in ("drawn 0", "drawn 1", "in conflict", "lengths a"):
        gram = ROWS[matrix] @ ROWS[matrix].T
        theirs = torchjd.UPGradWeighting(projector=plain)(to_torch(gram)).numpy()
        np.testing.assert_allclose(upgrad(gram), theirs, atol=1e-10)
    assert np.abs(torchjd.UPGradWeighting()(to_torch(gram)).numpy() - theirs).max() > 1e-5


def test_rejects_wrong_preferences():
    with pytest.raises(
        ValueError, match=r"preferences must hold one number for each of the 2 losses.*got float64\[3\]"
    ):
        upgrad(jnp.eye(2), preferences=jnp.ones(3))
    with pytest.raises(TypeError, match="preferences must hold real numbers"):
        upgrad(jnp.eye(2), preferences=jnp.array([1j, 1j]))
