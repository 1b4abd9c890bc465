"""`multi_loss.pcgrad` against its loops with the same orders, closed forms, and TorchJD."""

import itertools

import jax
import numpy as np
import pytest

import torch_ref.multi_loss
from jaxgrad.multi_loss import pcgrad
from jaxgrad.multi_loss._pcgrad import orders
from jaxgrad.verify._bridge import to_torch
from tests.multi_loss.gram_rules import FAMOUS, KEY, ROWS, vectors

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


@pytest.mark.parametrize("matrix", [name for name in ROWS if name not in {"with a row of zeros", "all zeros"}])
def test_matches_torch(matrix):
    rows = ROWS[matrix]
    want = torch_ref.multi_loss.pcgrad(to_torch(rows @ rows.T), orders=orders(KEY, 3).tolist()).numpy() @ rows
    np.testing.assert_allclose(vectors("pcgrad", matrix), want, rtol=0, atol=1e-10 * np.abs(rows).max())


@pytest.mark.slow  # the example of the docstring has it
def test_known_answer(key):
    np.testing.assert_allclose(pcgrad(FAMOUS @ FAMOUS.T, key=key), [20 / 9, 30 / 19], atol=1e-14)


def test_every_row_meets_the_others_in_an_order_of_its_own(key):
    drawn = np.asarray(orders(key, 6))
    assert [sorted(order) for order in drawn.tolist()] == [[j for j in range(6) if j != k] for k in range(6)]
    ranks = [[j - (j > k) for j in order] for k, order in enumerate(drawn.tolist())]
    assert len({tuple(rank) for rank in ranks}) > 3


def test_the_original_rows_are_projected_against(key):
    """Were they the projected ones, the first pair would leave nothing of the conflict for the third row."""
    rows = ROWS["in conflict"]
    apart = {tuple(np.asarray(pcgrad(rows @ rows.T, key=k)).round(9)) for k in jax.random.split(key, 12)}
    every = itertools.product(*[itertools.permutations([j for j in range(3) if j != k]) for k in range(3)])
    known = [torch_ref.multi_loss.pcgrad(to_torch(rows @ rows.T), orders=order).numpy() for order in every]
    assert 1 < len(apart) <= len({tuple(weights.round(9)) for weights in known})
    assert apart <= {tuple(weights.round(9)) for weights in known}


def test_agrees_with_torchjd_where_there_is_one_order(key):
    torchjd = pytest.importorskip("torchjd.aggregation")
    for matrix in ("drawn 0", "in conflict", "lengths a"):
        gram = ROWS[matrix][:2] @ ROWS[matrix][:2].T
        np.testing.assert_allclose(pcgrad(gram, key=key), torchjd.PCGradWeighting()(to_torch(gram)).numpy(), atol=1e-12)


def test_agrees_with_torchjd_on_the_same_orders(monkeypatch):
    torchjd = pytest.importorskip("torchjd.aggregation")
    for matrix in ("drawn 1", "in conflict", "of rank 2", "equal", "opposite"):
        drawn = iter(orders(KEY, 3).tolist())
        monkeypatch.setattr("torch.randperm", lambda count, drawn=drawn: next(drawn))
        theirs = torchjd.PCGradWeighting()(to_torch(ROWS[matrix] @ ROWS[matrix].T)).numpy() @ ROWS[matrix]
        np.testing.assert_allclose(vectors("pcgrad", matrix), theirs, atol=1e-12)
