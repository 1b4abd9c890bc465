"""`multi_loss.nash_mtl` against one weight at a time, its equation, and TorchJD."""

import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.multi_loss
from jaxgrad.multi_loss import nash_mtl
from jaxgrad.verify._bridge import to_torch
from tests.multi_loss.gram_rules import FAMOUS, ROWS, vectors

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


@pytest.mark.parametrize(
    "matrix",
    [
        name
        for name in ROWS
        if name
        not in {
            "of rank 2",
            "opposite",
            "stationary",
            "of mixed lengths",
            "equal",
            "all zeros",
            "times 1e-15",
            "times 1e+15",
        }
    ],
)
def test_matches_torch(matrix):
    rows = ROWS[matrix]
    want = torch_ref.multi_loss.nash_mtl(to_torch(rows @ rows.T), max_norm=None).numpy() @ rows
    np.testing.assert_allclose(vectors("nash_mtl", matrix), want, rtol=0, atol=1e-10 * np.abs(rows).max())


@pytest.mark.slow  # the example of the docstring has it
def test_known_answer():
    np.testing.assert_allclose(nash_mtl(FAMOUS @ FAMOUS.T) @ FAMOUS, [0.0541533, 0.7060692, 0.7060692], atol=1e-7)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [3, pytest.param(9, marks=pytest.mark.slow)])
def test_the_residual_of_its_equation(count, seed):
    """Least squares on the equation stick at a wrong point for one matrix in twelve; nearly parallel rows too."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, count + 2)) * 10.0 ** rng.uniform(-4, 4, size=(count, 1))
    gram = rows @ rows.T
    weights = np.asarray(nash_mtl(gram, max_norm=None))
    np.testing.assert_allclose(weights * (gram / np.linalg.norm(gram) @ weights), 1, rtol=1e-8)


def test_the_vector_is_shortened_and_no_more():
    rows = ROWS["in conflict"]
    long = np.asarray(nash_mtl(rows @ rows.T, max_norm=None)) @ rows
    for most in (1e-3, 1.0, 1e9):
        vector = np.asarray(nash_mtl(rows @ rows.T, max_norm=most)) @ rows
        np.testing.assert_allclose(vector, long * min(1, most / np.linalg.norm(long)), rtol=1e-10)


@pytest.mark.slow  # its solver takes two seconds to be imported
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("matrix", ["drawn 0", "lengths a", "in conflict"])
def test_the_product_of_slopes_is_no_smaller_than_torchjds(matrix):
    """Its solver stops after some rounds, from a state; both go for the largest product at a given length."""
    pytest.importorskip("cvxpy"), pytest.importorskip("ecos")
    torchjd = pytest.importorskip("torchjd.aggregation")
    rows = ROWS[matrix]
    theirs = torchjd.NashMTL(n_tasks=3, optim_niter=200)(to_torch(rows)).numpy()

    def product(vector):
        return np.log(rows @ vector / np.linalg.norm(vector)).sum()

    assert theirs @ vectors("nash_mtl", matrix) > 0
    assert not product(vectors("nash_mtl", matrix)) < product(theirs) - 1e-9


def test_rejects_a_norm_of_zero():
    with pytest.raises(ValueError, match="max_norm must be positive"):
        nash_mtl(jnp.eye(2), max_norm=0.0)
