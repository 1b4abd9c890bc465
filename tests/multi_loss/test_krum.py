"""`multi_loss.krum` against distances pair by pair, closed form, and TorchJD."""

import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.multi_loss
from jaxgrad.multi_loss import krum
from jaxgrad.verify._bridge import to_torch
from tests.multi_loss.gram_rules import ROWS, vectors

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


@pytest.mark.parametrize("matrix", [name for name in ROWS if name not in {"all zeros", "equal"}])
def test_matches_torch(matrix):
    rows = ROWS[matrix]
    want = torch_ref.multi_loss.krum(to_torch(rows @ rows.T), num_byzantine=0).numpy() @ rows
    np.testing.assert_allclose(vectors("krum", matrix), want, rtol=0, atol=1e-10 * np.abs(rows).max())


@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
def test_liars_have_no_hold(scale):
    rows = np.random.default_rng(0).normal(size=(9, 5)) * 0.1 + 1
    rows[[2, 6]] = [[1e3], [-1e3]] * np.ones((2, 5))
    gram = scale * rows @ rows.T
    for count in (1, 3, 7):
        weights = np.asarray(krum(gram, num_byzantine=2, num_selected=count))
        assert sorted(weights) == [0] * (9 - count) + [1 / count] * count
        assert not weights[[2, 6]].any()
        want = torch_ref.multi_loss.krum(to_torch(gram), num_byzantine=2, num_selected=count).numpy()
        np.testing.assert_array_equal(weights, want)


def test_torchjd_adds_up_distances_and_the_paper_their_squares():
    torchjd = pytest.importorskip("torchjd.aggregation")
    # three in one place, 6 away from the next, and one amid three others that are 2.1 away
    turns = 2 * np.pi / 3 * np.arange(3)
    around = 2.1 * np.stack([-np.cos(turns), np.sin(turns)], axis=1)
    rows = np.concatenate([np.full((3, 2), [-8.1, 0.0]), np.zeros((1, 2)), around])
    gram = rows @ rows.T
    assert np.argmax(krum(gram, num_byzantine=2)) == 3
    assert np.argmax(torchjd.KrumWeighting(n_byzantine=2)(to_torch(gram)).numpy()) < 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_byzantine": 1}, r"gram must be of at least num_byzantine \+ 3 = 4 gradients; got 3"),
        ({"num_byzantine": -1}, "num_byzantine must be at least 0"),
        ({"num_byzantine": 0, "num_selected": 4}, "num_selected must be from 1 to 3"),
    ],
)
def test_rejects_too_few_gradients(options, message):
    with pytest.raises(ValueError, match=message):
        krum(jnp.eye(3), **options)
