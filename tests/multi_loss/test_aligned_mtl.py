"""`multi_loss.aligned_mtl` against singular values of rows, orthogonality, and TorchJD."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.multi_loss
from jaxgrad.multi_loss import aligned_mtl
from jaxgrad.verify._bridge import to_torch
from tests.multi_loss.gram_rules import FAMOUS, ROWS, vectors

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


@pytest.mark.parametrize("matrix", [name for name in ROWS if name not in {"of mixed lengths", "all zeros"}])
def test_matches_torch(matrix):
    rows = ROWS[matrix]
    want = torch_ref.multi_loss.aligned_mtl(to_torch(rows @ rows.T)).numpy() @ rows
    np.testing.assert_allclose(vectors("aligned_mtl", matrix), want, rtol=0, atol=1e-10 * np.abs(rows).max())


@pytest.mark.slow  # the example of the docstring has it
def test_known_answer():
    np.testing.assert_allclose(aligned_mtl(FAMOUS @ FAMOUS.T), [0.5590719, 0.4082611], atol=1e-7)


@pytest.mark.parametrize("scale_mode", ["min", "median", "rmse"])
def test_aligned_rows_are_orthogonal_and_of_one_length(scale_mode):
    rows = ROWS["in conflict"]
    gram, values = rows @ rows.T, np.linalg.eigvalsh(rows @ rows.T)
    aligned = np.stack([aligned_mtl(gram, preferences=one, scale_mode=scale_mode) for one in np.eye(3)]) @ rows
    square = {"min": values[0], "median": values[1], "rmse": values.mean()}[scale_mode]
    np.testing.assert_allclose(aligned @ aligned.T, square * np.eye(3), atol=1e-10 * square)
    preferences = np.array([0.2, 1.5, 0.1])
    want = torch_ref.multi_loss.aligned_mtl(
        to_torch(gram), preferences=to_torch(preferences), scale_mode=scale_mode
    ).numpy()
    np.testing.assert_allclose(aligned_mtl(gram, preferences=preferences, scale_mode=scale_mode), want, atol=1e-10)


def test_the_derivative_is_finite_where_eigenvalues_are_equal():
    slope = jax.jit(jax.jacrev(aligned_mtl))(2 * jnp.eye(3))
    assert bool(jnp.isfinite(slope).all())


def test_agrees_with_torchjd():
    torchjd = pytest.importorskip("torchjd.aggregation")
    for matrix in ("drawn 0", "in conflict", "lengths a", "of rank 2"):
        gram = ROWS[matrix] @ ROWS[matrix].T
        for scale_mode in ("min", "median", "rmse"):
            theirs = torchjd.AlignedMTLWeighting(scale_mode=scale_mode)(to_torch(gram)).numpy()
            np.testing.assert_allclose(aligned_mtl(gram, scale_mode=scale_mode), theirs, atol=1e-10)


def test_rejects_an_unknown_scale():
    with pytest.raises(ValueError, match="scale_mode"):
        aligned_mtl(jnp.eye(2), scale_mode="mean")
