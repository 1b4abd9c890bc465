"""The quadratic program of the rules: both solvers agree, and the duality gap bounds what is missing."""

import functools

import jax
import numpy as np
import pytest

from jaxgrad.multi_loss._engine import _gradients_of_program, _supports
from jaxgrad.multi_loss._engine._gradients_of_program import duality_gap
from jaxgrad.multi_loss._engine._inverse import inverse, pseudo_inverse

pytestmark = pytest.mark.usefixtures("compiled_quickly")

COUNT = 6


@functools.cache
def programs():
    """Return matrices of unit rows, some singular, right-hand sides in their range, and what both solvers say."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(8, COUNT, 9)) + 0.4
    rows[4:, :, 3:] = 0
    rows[6, 1] = rows[6, 0]
    rows[7, 1] = -rows[7, 0]
    rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
    matrices = rows @ rows.swapaxes(1, 2)
    rhs = matrices @ rng.normal(size=(8, COUNT, 1))
    rhs = (rhs / np.abs(rhs).max(1, keepdims=True)).swapaxes(1, 2)
    solved = [jax.jit(jax.vmap(solver.solve))(matrices, rhs)[:, 0] for solver in (_supports, _gradients_of_program)]
    return matrices, rhs[:, 0], *map(np.asarray, solved)


def test_both_solvers_meet_the_conditions_and_agree():
    matrices, rhs, exact, iterated = programs()
    for matrix, b, *points in zip(matrices, rhs, exact, iterated, strict=True):
        for point in points:
            slack = matrix @ point - b
            assert np.abs(np.minimum(point, slack)).max() < 1e-11
        np.testing.assert_allclose(matrix @ points[0], matrix @ points[1], atol=1e-10)


def test_the_gap_bounds_the_function_from_its_minimum():
    matrices, rhs, exact, _ = programs()
    rng = np.random.default_rng(1)
    for matrix, b, best in zip(matrices, rhs, exact, strict=True):
        near = np.maximum(best + 0.1 * rng.normal(size=COUNT), 0)
        missing = (near @ matrix @ near / 2 - b @ near) - (best @ matrix @ best / 2 - b @ best)
        assert 0 <= missing <= duality_gap(matrix, b, near)
        assert duality_gap(matrix, b, best) < 1e-12


def test_inverses():
    matrices = programs()[0]
    inverted = np.asarray(jax.jit(jax.vmap(inverse))(matrices[:4]))
    np.testing.assert_allclose(inverted @ matrices[:4], np.tile(np.eye(COUNT), (4, 1, 1)), atol=1e-9)
    # of dependent rows those that span the others: an inverse on them
    part = np.asarray(inverse(matrices[7]))
    np.testing.assert_allclose(matrices[7] @ part @ matrices[7], matrices[7], atol=1e-10)
    pseudo = np.asarray(jax.jit(jax.vmap(pseudo_inverse))(matrices))
    np.testing.assert_allclose(pseudo, np.linalg.pinv(matrices, hermitian=True, rcond=1e-12), atol=1e-9)


def test_second_derivatives_of_an_inverse():
    matrix, direction = programs()[0][0], np.eye(COUNT)[[1]].T @ np.eye(COUNT)[[1]]

    def along(t):
        return inverse(matrix + t * direction)[0, 0]

    found = np.asarray(inverse(matrix))
    want = 2 * (found @ direction @ found @ direction @ found)[0, 0]
    np.testing.assert_allclose(jax.jit(jax.grad(jax.grad(along)))(0.0), want, rtol=1e-9)
