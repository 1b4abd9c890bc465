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
from tests.curvature.one_layer import HESSIAN, PROBLEM, bent_square

quickly = pytest.mark.usefixtures("compiled_quickly")

PARAMS = PROBLEM.params
OPERATOR = curvature.operator(HESSIAN, PARAMS, *PROBLEM.data)
DENSE = curvature.dense_hessian(bent_square, PARAMS, *PROBLEM.data)
VECTOR = random_like(PARAMS, 1)


def test_shape_and_dtype():
    assert (OPERATOR.shape, OPERATOR.dtype, repr(OPERATOR)) == (
        (15, 15),
        jnp.float64,
        "LinearOperator(shape=(15, 15), dtype=float64)",
    )


@quickly
def test_times_a_tree_a_vector_and_a_matrix():
    flat, tree = ravel_pytree(VECTOR)
    assert_parity(OPERATOR @ VECTOR, tree(DENSE @ flat))
    assert_parity(OPERATOR.T @ flat, DENSE @ flat)
    columns = np.random.default_rng(0).normal(size=(15, 3))
    assert_parity(OPERATOR @ columns, DENSE @ columns)


@quickly
def test_sums_and_multiples():
    flat = ravel_pytree(VECTOR)[0]
    other = curvature.operator(lambda params, v: jax.tree.map(lambda a: 3.0 * a, v), PARAMS)
    together = np.float64(2.0) * OPERATOR - other * jnp.array(0.5) + 0.25 * OPERATOR.identity
    assert_parity(together @ flat, 2 * DENSE @ flat - 1.25 * flat)
    assert_parity(-OPERATOR @ flat, -DENSE @ flat)


@quickly
def test_vectors_of_other_kinds_of_numbers():
    """An axis of integers, bools, and a complex vector; none is cut to the dtype of the vector."""
    assert_parity(OPERATOR @ np.eye(15, 2, dtype=int), DENSE[:, :2])
    assert_parity(OPERATOR @ (jnp.arange(15) == 1), DENSE[:, 1])
    flat = np.asarray(ravel_pytree(VECTOR)[0])
    turned = flat + 1j * flat[::-1]
    for product in (OPERATOR @ turned, OPERATOR.to_scipy() @ turned):
        np.testing.assert_allclose(product, np.asarray(DENSE) @ turned, rtol=1e-12)
    assert (OPERATOR @ np.zeros((15, 0))).shape == (15, 0)
    with pytest.raises(ValueError, match=r"vector\['layer0'\]\['bias'\]: got a str, expected float64\[3\]"):
        OPERATOR @ {"layer0": {**VECTOR["layer0"], "bias": "x"}}
    with pytest.raises(TypeError, match=r"vector must hold numbers; got key<fry>\[15\]"):
        OPERATOR @ jax.random.split(jax.random.key(0), 15)


@quickly
def test_goes_into_compiled_functions():
    flat = ravel_pytree(VECTOR)[0]
    together = sum([OPERATOR, 2.0 * OPERATOR]) / 2
    assert_parity(jax.jit(lambda matrix, v: (matrix + matrix.identity) @ v)(together, flat), 1.5 * DENSE @ flat + flat)


@quickly
def test_scipy_gets_no_dtype_of_16_bits():
    params = {"w": jnp.ones(3, jnp.bfloat16)}
    of_scipy = curvature.operator(lambda p, v: {"w": v["w"] * p["w"]}, params).to_scipy()
    assert of_scipy.dtype == np.float32
    assert eigsh(of_scipy, k=1, return_eigenvectors=False) == pytest.approx([1.0], rel=2**-8)


@quickly
def test_composes_with_the_transformations():
    def height(params):
        return jnp.sum(curvature.operator(HESSIAN, params, *PROBLEM.data) @ jnp.ones(15))

    def dense(params):
        return jnp.sum(curvature.dense_hessian(bent_square, params, *PROBLEM.data))

    assert_parity(jax.jit(jax.grad(height))(PARAMS), jax.jit(jax.grad(dense))(PARAMS))


@quickly
def test_scipy_takes_it():
    of_scipy = (OPERATOR + 2.0 * OPERATOR.identity).to_scipy()
    values = eigsh(of_scipy, k=2, which="LA", return_eigenvectors=False)
    assert_parity(jnp.sort(values), jnp.linalg.eigvalsh(DENSE)[-2:] + 2.0)
    flat = np.asarray(ravel_pytree(VECTOR)[0])
    found, failed = minres(of_scipy, flat, rtol=1e-12)
    assert not failed
    np.testing.assert_allclose(of_scipy @ found, flat, atol=1e-8)
    np.testing.assert_allclose(of_scipy @ np.stack([flat, found], 1), np.stack([of_scipy @ flat, flat], 1), atol=1e-8)


@quickly
def test_lineax_takes_it():
    damped = OPERATOR + 2.0 * OPERATOR.identity
    solver = lineax.CG(rtol=1e-12, atol=1e-12)
    found = lineax.linear_solve(damped.to_lineax(positive_semidefinite=True), VECTOR, solver).value
    want = curvature.solve(HESSIAN, PARAMS, VECTOR, *PROBLEM.data, damping=2.0, tolerance=1e-12)
    assert_parity(found, want.solution, tolerance=1e-9)
    assert lineax.is_symmetric(damped.to_lineax())
    assert_parity(jax.jit(lambda: OPERATOR.to_lineax().as_matrix())(), DENSE)


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


@quickly
def test_leaves_of_two_precisions():
    params = {"a": jnp.ones(2, jnp.float32), "b": jnp.ones(1, jnp.float64)}
    mixed = curvature.operator(lambda params, v: jax.tree.map(lambda leaf: 2 * leaf, v), params)
    assert mixed.dtype == jnp.float64
    assert (mixed @ jnp.arange(3.0)).tolist() == [0.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        ({"layer0": {}}, r"(?s)vector\['layer0'\]\['bias'\]: got nothing.*\['weight'\]: got nothing"),
        (
            np.ones(14),
            r"vector must be a tree like params, or an array of shape \(15,\) or \(15, K\); got float64\[14",
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
    with pytest.raises(TypeError, match="the divisor of an operator must be a real number"):
        OPERATOR / "2"
    for refused in ({"inverse": OPERATOR}, {"inverse": OPERATOR, "damping": 0.1}):
        with pytest.raises(TypeError, match=r"inverse stands for the inverse.*write a function of a tree"):
            curvature.influence(bent_square, PARAMS, PROBLEM.data, PROBLEM.data, **refused)
    with pytest.raises(TypeError, match=r"preconditioner stands for the inverse.*write a function of a tree"):
        curvature.solve(HESSIAN, PARAMS, VECTOR, *PROBLEM.data, damping=1.0, preconditioner=OPERATOR)
