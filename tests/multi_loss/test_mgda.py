"""`multi_loss.mgda` against the conditions on every face, closed forms, and TorchJD."""

import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.multi_loss
from jaxgrad.multi_loss import mgda
from jaxgrad.verify._bridge import to_torch
from tests.multi_loss.gram_rules import FAMOUS, ROWS, vectors

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


@pytest.mark.parametrize("matrix", [name for name in ROWS if name not in {"of mixed lengths", "all zeros"}])
def test_matches_torch(matrix):
    rows = ROWS[matrix]
    want = torch_ref.multi_loss.mgda(to_torch(rows @ rows.T)).numpy() @ rows
    np.testing.assert_allclose(vectors("mgda", matrix), want, rtol=0, atol=1e-10 * np.abs(rows).max())


@pytest.mark.slow  # the example of the docstring has it
def test_known_answer():
    weights = mgda(FAMOUS @ FAMOUS.T)
    np.testing.assert_allclose(weights, [0.6, 0.4], atol=1e-14)


@pytest.mark.parametrize("length", [1e-12, 1.0, 1e12])
def test_two_gradients_in_closed_form(length):
    rows = np.random.default_rng(0).normal(size=(2, 5)) * [[1.0], [length]]
    (a, b), (_, c) = rows @ rows.T
    first = np.clip((c - b) / (a - 2 * b + c), 0, 1)
    np.testing.assert_allclose(mgda(rows @ rows.T), [first, 1 - first], rtol=1e-10)


@pytest.mark.parametrize("count", [9, pytest.param(32, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dimension", [4, 40])
def test_many_gradients_satisfy_the_conditions(count, dimension):
    """No gradient has a smaller product with the vector than the vector with itself; those of weight have the same."""
    rows = np.random.default_rng(1).normal(size=(count, dimension)) + 0.3
    gram = rows @ rows.T
    weights = np.asarray(mgda(gram))
    slopes = gram @ weights
    assert abs(weights.sum() - 1) < 1e-14
    assert weights.min() >= 0
    assert slopes.min() >= weights @ slopes - 1e-12 * gram.max()
    np.testing.assert_allclose(slopes[weights > 0], weights @ slopes, atol=1e-12 * gram.max())


def test_torchjd_stops_early():
    torchjd = pytest.importorskip("torchjd.aggregation")
    rows = ROWS["in conflict"]
    theirs = torchjd.MGDAWeighting(epsilon=1e-9, max_iters=20_000)(to_torch(rows @ rows.T)).numpy()
    np.testing.assert_allclose(mgda(jnp.asarray(rows @ rows.T)), theirs, atol=1e-4)
    default = torchjd.MGDAWeighting()(to_torch(rows @ rows.T)).numpy()
    lengths = [np.linalg.norm(weights @ rows) for weights in (mgda(rows @ rows.T), theirs, default)]
    # after 20,000 steps theirs is the shortest vector too, so that rounding decides; at its defaults it is longer
    assert lengths[0] <= lengths[1] * (1 + 1e-14)
    assert lengths[1] * (1 + 1e-6) < lengths[2]
