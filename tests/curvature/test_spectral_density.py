"""`curvature.spectral_density` on the same probes as torch, its mass and its nodes, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.curvature
from jaxgrad.curvature import spectral_density
from tests.bridge import assert_parity, to_torch
from tests.curvature.matrices import draw, matrix_product
from tests.curvature.one_layer import HESSIAN, HESSIAN_TORCH, PROBLEM
from tests.curvature.test_trace import stack_like

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def test_matches_torch_on_the_same_probes():
    probes, grid = stack_like(PROBLEM.params, 3), np.linspace(-5.0, 5.0, 9)
    got = spectral_density(HESSIAN, PROBLEM.params, *PROBLEM.data, probes=probes, grid=grid, bandwidth=0.5)
    want = torch_ref.curvature.spectral_density(
        HESSIAN_TORCH,
        PROBLEM.params_torch,
        *PROBLEM.data_torch,
        probes=to_torch(probes),
        grid=to_torch(grid),
        bandwidth=0.5,
    )
    assert_parity((got.density, got.standard_error), want, tolerance=1e-9)
    assert_parity(got.grid, grid)


def test_mass_nodes_and_expectation():
    tree, matrix = draw([20.0, 10.0, *np.linspace(0.1, 1, 22)])
    got = spectral_density(matrix_product, tree, matrix, key=jax.random.key(0), num_samples=200, num_products=8)
    assert abs(jnp.trapezoid(got.density, got.grid) - 1) < 1e-3
    assert_parity(jnp.sum(got.weights, axis=1), jnp.ones(200))
    np.testing.assert_allclose(got.nodes[:, -2:], [[10.0, 20.0]] * 200, rtol=1e-6)
    # a twenty-fourth of the eigenvalues is at 20, with the error of two hundred probes
    last = got.weights[:, -1]
    assert abs(jnp.mean(last) - 1 / 24) < 4 * jnp.std(last) / 200**0.5


@pytest.mark.parametrize("size", [0.0, 3.0])
def test_a_multiple_of_the_identity(size):
    tree = {"a": jnp.ones(2), "b": jnp.ones((4, 1))}
    got = spectral_density(matrix_product, tree, size * jnp.eye(6), key=jax.random.key(0), num_samples=2)
    assert abs(jnp.trapezoid(got.density, got.grid) - 1) < 1e-3
    assert abs(jnp.sum(got.grid * got.density) / jnp.sum(got.density) - size) < 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 0}, "num_samples must be at least 2; got 0"),
        ({"num_products": 0}, "num_products must be at least 1; got 0"),
        ({"num_points": 1}, "num_points must be at least 2; got 1"),
        ({"bandwidth": -1.0}, "bandwidth must not be negative"),
        ({"bandwidth": 0}, "bandwidth must be positive; got 0"),
        ({"grid": np.ones((2, 2))}, r"grid must be a vector .*got float64\[2,2\]"),
    ],
)
def test_rejects(options, message):
    with pytest.raises(ValueError, match=message):
        spectral_density(HESSIAN, PROBLEM.params, *PROBLEM.data, key=jax.random.key(0), **options)
