"""`multi_loss.fairgrad` against one weight at a time, its equation at any scale, and TorchJD."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.multi_loss
from jaxgrad.multi_loss import fairgrad
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
    want = torch_ref.multi_loss.fairgrad(to_torch(rows @ rows.T), alpha=2.0).numpy() @ rows
    np.testing.assert_allclose(vectors("fairgrad", matrix), want, rtol=0, atol=1e-10 * np.abs(want).max())


@pytest.mark.slow  # the example of the docstring has it
def test_known_answer():
    np.testing.assert_allclose(fairgrad(FAMOUS @ FAMOUS.T) @ FAMOUS, [0.0765843, 0.9985326, 0.9985326], atol=1e-7)


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1.0, 1e8])
@pytest.mark.parametrize("alpha", [0.4, 1.0, 5.0])
def test_the_residual_of_its_equation(alpha, scale):
    gram = scale**2 * ROWS["in conflict"] @ ROWS["in conflict"].T
    weights = np.asarray(fairgrad(gram, alpha=alpha))
    np.testing.assert_allclose(gram @ weights * weights ** (1 / alpha), 1, rtol=1e-10)


def test_its_limits_are_the_mean_and_equal_slopes():
    rows = ROWS["drawn 0"]
    fair = rows @ (fairgrad(rows @ rows.T, alpha=1e3) @ rows)
    np.testing.assert_allclose(fair, fair[0], rtol=2e-2)
    weights = np.asarray(fairgrad(jnp.diag(jnp.array([1.0, 2.0, 3.0])), alpha=1e-2))
    np.testing.assert_allclose(weights, 1, rtol=2e-2)


def test_the_derivative_by_alpha():
    gram = ROWS["in conflict"] @ ROWS["in conflict"].T
    slope = jax.jit(jax.jacfwd(lambda alpha: fairgrad(gram, alpha=alpha)))(2.0)
    difference = (fairgrad(gram, alpha=2 + 1e-5) - fairgrad(gram, alpha=2 - 1e-5)) / 2e-5
    np.testing.assert_allclose(slope, difference, rtol=1e-7)


def test_agrees_with_torchjd_until_rows_are_short():
    torchjd = pytest.importorskip("torchjd.aggregation")
    gram = ROWS["drawn 0"] @ ROWS["drawn 0"].T
    theirs = torchjd.FairGradWeighting(alpha=2.0)(to_torch(gram)).numpy()
    np.testing.assert_allclose(fairgrad(gram, alpha=2.0), theirs, rtol=1e-6)
    short = 1e-6 * gram
    theirs = torchjd.FairGradWeighting(alpha=1.0)(to_torch(short)).numpy()
    assert np.abs(short @ theirs * theirs - 1).max() > 1e-3
    ours = np.asarray(fairgrad(short, alpha=1.0))
    np.testing.assert_allclose(short @ ours * ours, 1, rtol=1e-10)


def test_rejects_alpha_0():
    with pytest.raises(ValueError, match="alpha must be positive"):
        fairgrad(jnp.eye(2), alpha=0.0)
