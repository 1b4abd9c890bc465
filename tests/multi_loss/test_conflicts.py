"""`multi_loss.conflicts` against torch pair by pair, for scales from 1e-20 to 1e15, and its picture's numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.multi_loss
from jaxgrad.multi_loss import conflicts, gram
from tests.bridge import assert_parity, to_torch
from tests.multi_loss.heads import heads, outputs

ROWS = np.random.default_rng(0).normal(size=(4, 3)) * np.array([[1.0], [1e-3], [5.0], [0.0]])


pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e15])
def test_matches_torch(scale):
    matrix = (scale * ROWS) @ (scale * ROWS).T
    assert_parity(conflicts(jnp.asarray(matrix))._asdict(), torch_ref.multi_loss.conflicts(to_torch(matrix)))


def test_the_alignment_is_that_of_unit_vectors():
    """One direction, opposite ones, right angles, and the cosine of two."""
    for rows, want in (
        ([[1.0, 0.0], [7.0, 0.0]], 1.0),
        ([[1.0, 0.0], [-3.0, 0.0]], -1.0),
        ([[1.0, 0.0], [0.0, 2.0]], 0.0),
        ([[1.0, 0.0], [1.0, 1.0]], 0.5**0.5),
    ):
        matrix = jnp.array(rows) @ jnp.array(rows).T
        assert_parity(conflicts(matrix).alignment, want)


def test_norms_far_apart_in_float32():
    """The product of two norms leaves the range that the matrix itself is in."""
    matrix = jnp.array([[1e-36, 5e-28], [5e-28, 1e-18]], jnp.float32)
    found = conflicts(matrix)
    np.testing.assert_allclose(found.cosines, [[1.0, 0.5], [0.5, 1.0]], rtol=1e-5)
    np.testing.assert_allclose(found.magnitudes, [1e-18, 1e-9], rtol=1e-5)


def test_of_losses():
    problem = heads()
    found = conflicts(gram(outputs, problem.params, problem.x, wrt="trunk"))
    assert found.conflicting.dtype == bool
    assert_parity(jnp.diagonal(found.cosines), jnp.ones(2))


def test_a_sick_loss_stays_visible():
    found = conflicts(jnp.array([[jnp.nan, jnp.nan], [jnp.nan, 4.0]]))
    assert jnp.isnan(found.alignment)
    assert_parity(found.magnitudes[1], 2.0)
    # a square that has left the range of its dtype: no direction is at right angles to it
    found = conflicts(jnp.array([[jnp.inf, 1.0], [1.0, 4.0]]))
    assert jnp.isnan(found.cosines[0]).all()
    assert jnp.isnan(found.alignment)


def test_derivatives_at_zero_and_equal_rows_are_finite():
    slopes = jax.jit(jax.vmap(jax.grad(lambda r: conflicts(r @ r.T).alignment)))
    rows = np.stack([np.zeros((2, 3)), np.ones((2, 3)), [[1.0, 0, 0], [-1.0, 0, 0]]])
    assert np.isfinite(slopes(rows)).all()


def test_refusals():
    with pytest.raises(ValueError, match=r"gram must be the square matrix.*got float64\[2,3\]"):
        conflicts(jnp.ones((2, 3)))
    with pytest.raises(TypeError, match=r"gram must have leaves[\s\S]*got int64\[2,2\]"):
        conflicts(jnp.ones((2, 2), int))
