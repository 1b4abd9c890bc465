"""`multi_loss.imtl_g` against a linear system, equal projections, and TorchJD."""

import numpy as np
import pytest

import torch_ref.multi_loss
from jaxgrad.multi_loss import imtl_g
from jaxgrad.verify._bridge import to_torch
from tests.multi_loss.gram_rules import FAMOUS, ROWS, named, vectors

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


@pytest.mark.parametrize("matrix", [name for name in ROWS if name not in {"all zeros"}])
def test_matches_torch(matrix):
    rows = ROWS[matrix]
    want = torch_ref.multi_loss.imtl_g(to_torch(rows @ rows.T)).numpy() @ rows
    size = np.abs(named("imtl_g", matrix)).max() * np.abs(rows).max()
    np.testing.assert_allclose(vectors("imtl_g", matrix), want, rtol=0, atol=1e-10 * size)


@pytest.mark.slow  # the example of the docstring has it
def test_known_answer():
    np.testing.assert_allclose(imtl_g(FAMOUS @ FAMOUS.T), [0.5923303, 0.4076697], atol=1e-7)


@pytest.mark.parametrize("matrix", ["drawn 0", "in conflict", "times 1e+15", "times 1e-15", "lengths a"])
def test_projections_are_equal(matrix):
    rows = ROWS[matrix]
    projections = rows @ vectors("imtl_g", matrix) / np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(projections, projections[0], rtol=1e-9)
    assert named("imtl_g", matrix).sum() == pytest.approx(1)


def test_agrees_with_torchjd_until_rows_are_large():
    torchjd = pytest.importorskip("torchjd.aggregation")
    for matrix in ("drawn 0", "in conflict", "lengths a"):
        gram = ROWS[matrix] @ ROWS[matrix].T
        np.testing.assert_allclose(imtl_g(gram), torchjd.IMTLGWeighting()(to_torch(gram)).numpy(), atol=1e-10)
    large = gram * 1e26
    assert not torchjd.IMTLGWeighting()(to_torch(large)).any()
    np.testing.assert_allclose(imtl_g(large), imtl_g(gram), atol=1e-12)
