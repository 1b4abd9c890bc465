"""`curvature.log_determinant` on the same probes as torch, its derivative, low ranks, its expectation, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.curvature
from jaxgrad.curvature import log_determinant
from tests.bridge import assert_parity, to_torch
from tests.curvature.matrices import draw, matrix_product
from tests.curvature.one_layer import HESSIAN, HESSIAN_TORCH, PROBLEM
from tests.curvature.test_trace import stack_like

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


def test_matches_torch_on_the_same_probes():
    probes = stack_like(PROBLEM.params, 3)
    got = log_determinant(HESSIAN, PROBLEM.params, *PROBLEM.data, damping=3.0, probes=probes)
    want = torch_ref.curvature.log_determinant(
        HESSIAN_TORCH, PROBLEM.params_torch, *PROBLEM.data_torch, damping=3.0, probes=to_torch(probes)
    )
    assert_parity(got[:2], want, tolerance=1e-9)


AXES = jnp.asarray(np.eye(6) * 6**0.5)
WHOLE = {"a": AXES[:, :2], "b": AXES[:, 2:, None]}


@pytest.mark.parametrize("eigenvalues", [[3.0, 1.0, 2.0, 0.5, 4.0, 1.0], [5.0, 2.0, 0.0, 0.0, 0.0, 0.0], [0.0] * 6])
def test_a_whole_basis_gives_the_determinant_and_its_derivative(eigenvalues):
    """Of a damped matrix of low rank every Krylov space ends early."""
    tree, matrix = draw(eigenvalues)

    def estimated(matrix, damping):
        found = log_determinant(matrix_product, tree, matrix, damping=damping, probes=WHOLE)
        return found.estimate

    def exact(matrix, damping):
        return jnp.linalg.slogdet(matrix + damping * jnp.eye(6))[1]

    value, slopes = jax.value_and_grad(estimated, (0, 1))(matrix, jnp.array(0.1))
    want, dense = jax.value_and_grad(exact, (0, 1))(matrix, jnp.array(0.1))
    assert_parity(value, want)
    assert_parity(slopes, dense, tolerance=1e-9)


def test_is_unbiased_and_few_products_do():
    tree, matrix = draw([20.0, 10.0, *np.linspace(0.1, 1, 22)])

    @jax.jit
    @jax.vmap
    def many(key):
        return log_determinant(matrix_product, tree, matrix, damping=0.5, key=key, num_samples=4, num_products=10)

    found = many(jax.random.split(jax.random.key(3), 500))
    spread = jnp.std(found.estimate)
    exact = jnp.linalg.slogdet(matrix + 0.5 * jnp.eye(24))[1]
    assert jnp.abs(jnp.mean(found.estimate) - exact) < 4 * spread / 500**0.5
    assert 0.8 < jnp.sqrt(jnp.mean(found.standard_error**2)) / spread < 1.2


def test_an_indefinite_matrix_has_no_logarithm_nor_has_a_singular_one():
    tree, matrix = draw([3.0, -1.0, 2.0, 0.5, 4.0, 1.0])
    for given, damping in ((matrix, 0.1), (0 * matrix, 0.0)):
        found = log_determinant(matrix_product, tree, given, damping=damping, probes=WHOLE)
        assert found.indefinite
        assert not jnp.isfinite(found.estimate)
    assert not log_determinant(matrix_product, tree, matrix, damping=1.1, probes=WHOLE).indefinite
    broken = log_determinant(matrix_product, tree, matrix * jnp.nan, damping=0.1, probes=WHOLE)
    assert not broken.indefinite
    assert jnp.isnan(broken.estimate)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give probes=.* or key="),
        ({"key": jax.random.key(0), "num_samples": 1}, "num_samples must be at least 2; got 1"),
        ({"key": jax.random.key(0), "num_products": 0}, "num_products must be at least 1; got 0"),
        ({"key": jax.random.key(0), "damping": -1.0}, "damping must not be negative"),
    ],
)
def test_rejects(options, message):
    with pytest.raises(ValueError, match=message):
        log_determinant(HESSIAN, PROBLEM.params, *PROBLEM.data, **{"damping": 1.0, **options})
