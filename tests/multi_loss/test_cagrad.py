"""`multi_loss.cagrad` against a bisection, the conditions of its program, its limits, and TorchJD."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.multi_loss
from jaxgrad.multi_loss import cagrad, dual_projection, mgda
from jaxgrad.verify._bridge import to_torch
from tests.multi_loss.gram_rules import FAMOUS, ROWS, vectors

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


@pytest.mark.parametrize(
    "matrix",
    [
        name
        for name in ROWS
        if name not in {"with a row of zeros", "of mixed lengths", "all zeros", "times 1e-15", "times 1e+15"}
    ],
)
def test_matches_torch(matrix):
    rows = ROWS[matrix]
    want = torch_ref.multi_loss.cagrad(to_torch(rows @ rows.T), radius=0.5).numpy() @ rows
    np.testing.assert_allclose(vectors("cagrad", matrix), want, rtol=0, atol=1e-10 * np.abs(rows).max())


@pytest.mark.slow  # the example of the docstring has it
def test_known_answer():
    np.testing.assert_allclose(cagrad(FAMOUS @ FAMOUS.T) @ FAMOUS, [0.1835034, 1.2041241, 1.2041241], atol=1e-7)


@pytest.mark.parametrize("radius", [0.3, 0.9, 1.5])
@pytest.mark.parametrize(
    ("count", "dimension"), [(9, 12), *[pytest.param(n, n + 2, marks=pytest.mark.slow) for n in (4, 32)]]
)
def test_the_conditions_of_the_program(count, dimension, radius):
    """What is added to the mean is a positive combination of the gradients with the worst slope, and fills the ball."""
    rows = np.random.default_rng(count).normal(size=(count, dimension)) + 0.2
    added = np.asarray(cagrad(rows @ rows.T, radius=radius)) - 1 / count
    slopes = rows @ ((added + 1 / count) @ rows)
    assert added.min() >= -1e-15
    np.testing.assert_allclose(slopes[added > 1e-12], slopes.min(), atol=1e-10)
    assert np.linalg.norm(added @ rows) == pytest.approx(radius * np.linalg.norm(rows.mean(0)), rel=1e-10)


def degenerate(seed):
    """Return nine rows of rank 4, and nine of which two are opposite."""
    rng = np.random.default_rng(seed)
    thin = (rng.normal(size=(9, 4)) + 0.2) @ rng.normal(size=(4, 12))
    opposite = rng.normal(size=(9, 12)) + 0.3
    opposite[1] = -opposite[0]
    return thin, opposite


@pytest.mark.parametrize("seed", [2, 12, 16, 23, 64, 82, 87])
def test_many_rows_that_depend_on_each_other(seed):
    """The search for the level ended at the mean itself, or far out of the ball.

    Any weights say what no vector of the ball exceeds: those that were found must say what theirs reaches.
    """
    for rows in degenerate(seed):
        mean, added = rows.mean(0), np.asarray(cagrad(rows @ rows.T)) - 1 / 9
        vector, reach = (added + 1 / 9) @ rows, 0.5 * np.linalg.norm(mean)
        assert added.min() >= -1e-15
        assert np.linalg.norm(vector - mean) <= reach * (1 + 1e-10)
        most = (reach * np.linalg.norm(added @ rows) + added @ rows @ mean) / added.sum()
        worst = (rows @ vector).min()
        # no row of two opposite ones has a product above 0, and the ball may reach beyond
        assert worst == pytest.approx(min(most, 0) if np.linalg.norm(vector - mean) < 0.999 * reach else most, abs=1e-9)


@pytest.mark.parametrize("kind", [0, 1])
def test_the_derivative_of_many_rows_that_depend_on_each_other(kind):
    """Along directions in which the rows keep their rank, and go on to be opposite."""
    rows = degenerate(9)[kind]
    turn = np.random.default_rng(1).normal(size=(12, 12))

    def along(t):
        moved = rows + t * (rows @ turn)
        return cagrad(moved @ moved.T) @ moved

    program = jax.jit(along)
    slope = jax.jit(jax.jacfwd(along))(0.0)
    difference = (program(1e-6) - program(-1e-6)) / 2e-6
    np.testing.assert_allclose(slope, difference, rtol=0, atol=1e-6 * np.abs(difference).max())


def test_radius_0_is_the_mean_and_a_large_one_turns_to_the_shortest():
    rows = ROWS["drawn 0"]
    np.testing.assert_allclose(cagrad(rows @ rows.T, radius=0.0), np.full(3, 1 / 3))
    vector, shortest = cagrad(rows @ rows.T, radius=1e7) @ rows, mgda(rows @ rows.T) @ rows
    np.testing.assert_allclose(vector / np.linalg.norm(vector), shortest / np.linalg.norm(shortest), atol=1e-6)


@pytest.mark.parametrize("count", [3, 9])
def test_where_no_direction_lowers_all_losses_it_is_the_projected_mean(count):
    """And that is a point of the ball, where TorchJD's zero is none."""
    rows = np.random.default_rng(2).normal(size=(count, count))
    rows[0] = -0.5 * rows[1] - 0.25 * rows[2]
    gram = rows @ rows.T
    vector, mean = cagrad(gram, radius=0.9) @ rows, rows.mean(0)
    projected = dual_projection(gram) @ rows
    if np.linalg.norm(projected - mean) <= 0.9 * np.linalg.norm(mean):
        np.testing.assert_allclose(vector, projected, atol=1e-10)
    else:
        assert np.linalg.norm(vector - mean) == pytest.approx(0.9 * np.linalg.norm(mean))
    assert count == 3 or np.linalg.norm(projected - mean) <= 0.9 * np.linalg.norm(mean)


@pytest.mark.slow  # its solver takes two seconds to be imported
@pytest.mark.filterwarnings("ignore")
def test_agrees_with_torchjd():
    pytest.importorskip("cvxpy"), pytest.importorskip("clarabel")
    torchjd = pytest.importorskip("torchjd.aggregation")
    for matrix in ("drawn 0", "drawn 2", "in conflict"):
        gram = ROWS[matrix] @ ROWS[matrix].T
        theirs = torchjd.CAGradWeighting(c=0.5, norm_eps=1e-9)(to_torch(gram)).numpy()
        # its interior point method ends at 1e-8 of the function, which is flat: four digits of the weights
        np.testing.assert_allclose(cagrad(gram), theirs, atol=1e-3)
        assert (gram @ cagrad(gram)).min() >= (gram @ theirs).min() - 1e-8


def test_rejects_a_negative_radius():
    with pytest.raises(ValueError, match="radius must not be negative"):
        cagrad(jnp.eye(2), radius=-0.1)
