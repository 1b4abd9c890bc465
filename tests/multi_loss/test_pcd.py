"""`multi_loss.pcd`: what it grants, what cannot be granted, and TorchJD."""

import jax
import numpy as np
import pytest

from jaxgrad.multi_loss import pcd
from jaxgrad.verify._bridge import to_torch
from tests.multi_loss.stateful_weightings import GRAMS, ROWS, run

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


@jax.jit
def program(rows, options):
    made = pcd(**options)
    return made.update(rows @ rows.T, made.init(len(rows)))[0]


def first(rows, **options):
    return np.asarray(program(rows, options))


@pytest.mark.parametrize("step", range(3))
def test_every_other_loss_gets_its_share_of_the_vector_before_it_is_scaled(step):
    """At the first step all gradients have the usual length 1."""
    weights, lengths = first(ROWS[step], fraction=0.3), np.linalg.norm(ROWS[step], axis=1)
    vector = weights @ ROWS[step]
    np.testing.assert_allclose(np.linalg.norm(vector), lengths[0], rtol=1e-12)
    shares = ROWS[step] @ (vector / weights[0]) / lengths / lengths[0]
    assert shares[1:].min() >= 0.3 - 1e-12
    np.testing.assert_allclose(shares[1:][weights[1:] > 0], 0.3, rtol=1e-10)


def test_a_gradient_that_grants_all_is_left_as_it_is():
    rows = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 3.0]])
    np.testing.assert_allclose(first(rows), [1.0, 0.0, 0.0], atol=1e-15)


def test_what_excludes_each_other_is_dropped():
    rows = np.array([[1.0, 2.0], [0.0, 1.0], [0.0, -2.0]])
    np.testing.assert_allclose(first(rows, fraction=0.1), [1.0, 0.0, 0.0], atol=1e-15)


def test_opposite_gradients_and_no_share_leave_nothing():
    np.testing.assert_array_equal(first(np.array([[1.0], [-2.0]]), fraction=0.0), [0.0, 0.0])
    np.testing.assert_array_equal(first(np.array([[0.0, 0.0], [1.0, 0.0]])), [0.0, 0.0])
    np.testing.assert_array_equal(first(np.array([[3.0]])), [1.0])


def test_shares_of_their_own():
    rows = ROWS[0]
    np.testing.assert_allclose(first(rows, fraction=np.array([0.3, 0.3])), first(rows, fraction=0.3), rtol=1e-14)
    assert np.abs(first(rows, fraction=np.array([0.9, 0.1])) - first(rows, fraction=0.3)).max() > 1e-3


def test_agrees_with_torchjd():
    torchjd = pytest.importorskip("torchjd.aggregation")
    theirs = torchjd.PCDWeighting(tau=0.2, beta=0.9, eps=0.0)
    np.testing.assert_allclose(run("pcd")[0], [theirs(to_torch(gram)).numpy() for gram in GRAMS], atol=1e-9)


def test_rejects_wrong_options():
    with pytest.raises(ValueError, match="decay must not be negative"):
        pcd(decay=-0.1)
    with pytest.raises(ValueError, match="fraction must be one number, or one for each of the 2 losses but the first"):
        first(ROWS[0], fraction=np.ones(3))
