"""`curvature.operator` against the dense matrix, in SciPy and in lineax."""

import functools

import jax
import jax.numpy as jnp
import lineax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.sparse.linalg import eigsh, minres

from jaxgrad import curvature
from tests.bridge import assert_parity, random_like
from tests.curvature.test_eigenpairs import HESSIAN, PROBLEM
from tests.problems import mean_square

PARAMS = PROBLEM.params
OPERATOR = curvature.operator(HESSIAN, PARAMS, *PROBLEM.data)
DENSE = curvature.dense_hessian(mean_square, PARAMS, *PROBLEM.data)
VECTOR = random_like(PARAMS, 1)


def test_shape_and_dtype():
    assert (OPERATOR.shape, OPERATOR.dtype, repr(OPERATOR)) == (
        (26, 26),
        jnp.float64,
        "LinearOperator(shape=(26, 26), dtype=float64)",
    )


def test_times_a_tree_a_vector_and_a_matrix():
    flat, tree = ravel_pytree(VECTOR)
    assert_parity(OPERATOR @ VECTOR, tree(DENSE @ flat))
    assert_parity(OPERATOR.T @ flat, DENSE @ flat)
    columns = np.random.default_rng(0).normal(size=(26, 3))
    assert_parity(OPERATOR @ columns, DENSE @ columns)


def test_sums_and_multiples():
    flat = ravel_pytree(VECTOR)[0]
    other = curvature.operator(lambda params, v: jax.tree.map(lambda a: 3.0 * a, v), PARAMS)
    together = np.float64(2.0) * OPERATOR - other * jnp.array(0.5) + 0.25 * OPERATOR.identity
    assert_parity(together @ flat, 2 * DENSE @ flat - 1.25 * flat)
    assert_parity(-OPERATOR @ flat, -DENSE @ flat)


def test_composes_with_the_transformations():
    def height(params):
        return jnp.sum(curvature.operator(HESSIAN, params, *PROBLEM.data) @ jnp.ones(26))

    def dense(params):
        return jnp.sum(curvature.dense_hessian(mean_square, params, *PROBLEM.data))

    assert_parity(jax.jit(jax.grad(height))(PARAMS), jax.grad(dense)(PARAMS))


def test_scipy_takes_it():
    of_scipy = (OPERATOR + 2.0 * OPERATOR.identity).to_scipy()
    values = eigsh(of_scipy, k=2, which="LA", return_eigenvectors=False)
    assert_parity(jnp.sort(values), jnp.linalg.eigvalsh(DENSE)[-2:] + 2.0)
    flat = np.asarray(ravel_pytree(VECTOR)[0])
    found, failed = minres(of_scipy, flat, rtol=1e-12)
    assert not failed
    np.testing.assert_allclose(of_scipy @ found, flat, atol=1e-8)
    np.testing.assert_allclose(of_scipy @ np.stack([flat, found], 1), np.stack([of_scipy @ flat, flat], 1), atol=1e-8)


def test_lineax_takes_it():
    damped = OPERATOR + 2.0 * OPERATOR.identity
    solver = lineax.CG(rtol=1e-12, atol=1e-12)
    found = lineax.linear_solve(damped.to_lineax(positive_semidefinite=True), VECTOR, solver).value
    want = curvature.solve(HESSIAN, PARAMS, VECTOR, *PROBLEM.data, damping=2.0, tolerance=1e-12)
    assert_parity(found, want.solution, tolerance=1e-9)
    assert lineax.is_symmetric(damped.to_lineax())
    assert_parity(OPERATOR.to_lineax().as_matrix(), DENSE)


def test_nothing_is_materialised():
    """A matrix of a million by a million would take 4 TB."""

    def product(params, vector):
        return jax.tree.map(lambda p, v: p * v, params, vector)

    params = {"w": jnp.ones(1_000_000, jnp.float32)}

    def multiply(params, vector):
        whole = curvature.operator(product, params)
        return (whole + 0.1 * whole.identity) @ vector

    program = jax.jit(multiply).lower(params, jnp.ones(1_000_000, jnp.float32)).compile()
    assert program.memory_analysis().temp_size_in_bytes <= 3 * 4_000_000
    assert (curvature.operator(product, params).to_scipy() @ np.ones(1_000_000, np.float32)).sum() == 1e6


def test_leaves_of_two_precisions():
    params = {"a": jnp.ones(2, jnp.float32), "b": jnp.ones(1, jnp.float64)}
    mixed = curvature.operator(lambda params, v: jax.tree.map(lambda leaf: 2 * leaf, v), params)
    assert mixed.dtype == jnp.float64
    assert (mixed @ jnp.arange(3.0)).tolist() == [0.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        ({"layer0": VECTOR["layer0"]}, r"(?s)vector\['layer1'\]\['bias'\]: got nothing.*\['weight'\]: got nothing"),
        (
            jnp.ones(25),
            r"vector must be a tree like params, or an array of shape \(26,\) or \(26, K\); got float64\[25",
        ),
    ],
)
def test_rejects_a_vector_of_another_shape(vector, message):
    with pytest.raises(ValueError, match=message):
        OPERATOR @ vector


def test_rejects_what_is_no_operator_beside_it():
    with pytest.raises(ValueError, match="params of the other operator must have the structure"):
        OPERATOR + curvature.operator(HESSIAN, {"w": jnp.ones(2)})
    with pytest.raises(TypeError, match=r"write A @ \(B @ vector\)"):
        OPERATOR @ OPERATOR
    with pytest.raises(TypeError, match="unsupported operand"):
        OPERATOR + 1.0
    with pytest.raises(TypeError, match="the factor of an operator must be a real number"):
        OPERATOR * functools.partial
