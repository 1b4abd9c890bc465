"""`curvature.eigenpairs` against dense eigenvalues, its derivative, invariant spaces, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import torch_ref.curvature
from jaxgrad import _tree
from jaxgrad.curvature import dense_hessian, eigenpairs
from jaxgrad.curvature._engine._lanczos import lanczos, tridiagonal
from tests.bridge import assert_parity, random_like
from tests.curvature.matrices import draw, matrix_product
from tests.curvature.one_layer import HESSIAN, HESSIAN_TORCH, PROBLEM, bent_square
from tests.turns import one_in

START = random_like(PROBLEM.params, 3)
SIZE = 15

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


@pytest.mark.parametrize("which", one_in(3, ["smallest", "largest", "magnitude"]))
def test_a_whole_space_gives_the_pairs_of_torch(which):
    got = eigenpairs(HESSIAN, PROBLEM.params, *PROBLEM.data, k=3, which=which, num_products=SIZE, start=START)
    values, vectors = torch_ref.curvature.eigenpairs(
        HESSIAN_TORCH, PROBLEM.params_torch, *PROBLEM.data_torch, k=3, which=which
    )
    assert_parity(got.values, values)
    assert got.converged.all()
    for i, want in enumerate(vectors):
        mine = _tree.take(got.vectors, i)
        sign = jnp.sign(_tree.dot(mine, jax.tree.map(lambda leaf: jnp.asarray(leaf.numpy()), want)))
        assert_parity(jax.tree.map(lambda leaf, sign=sign: leaf * sign, mine), want, tolerance=1e-8)


def test_few_products_find_the_outer_ones_and_the_residuals_are_those_of_the_pairs():
    tree, matrix = draw([10.0, 7.0, 5.0, *np.linspace(-1, 1, 37)])
    got = eigenpairs(matrix_product, tree, matrix, k=4, num_products=12, key=jax.random.key(1))
    vectors = jax.vmap(lambda v: ravel_pytree(v)[0])(got.vectors)
    true = jnp.linalg.norm(vectors @ matrix - got.values[:, None] * vectors, axis=1)
    np.testing.assert_allclose(got.residuals, true, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(4), atol=1e-12)
    exact = jnp.linalg.eigvalsh(matrix)[::-1]
    assert_parity(got.values[:2], exact[:2], tolerance=1e-5)
    assert got.converged.tolist() == [True, True, True, False]
    assert jnp.all(jnp.abs(got.values - exact[:4]) <= true)


CROWDS = {
    "clusters": [*np.repeat([1e3, 10.0, 1.0, -5.0], 15) + 1e-9 * np.arange(60)],
    "repeated": [*np.repeat([7.0, 2.0, 0.0], 20)],
    "far apart": [*np.geomspace(1e-6, 1e3, 60)],
}


@jax.jit
def space_of_forty(tree, matrix):
    space = lanczos(lambda vector: matrix_product(None, vector, matrix), tree, 40)
    return jax.vmap(lambda one: ravel_pytree(one)[0])(space.basis), tridiagonal(space)


@pytest.mark.parametrize(("dtype", "allowed"), [(jnp.float64, 1e-12), (jnp.float32, 1e-5)])
def test_the_basis_stays_orthonormal_and_the_matrix_in_it_is_the_tridiagonal_one(dtype, allowed):
    for eigenvalues in CROWDS.values():
        tree, matrix = draw(eigenvalues)
        given = jax.tree.map(lambda leaf: leaf.astype(dtype), (random_like(tree, 2), matrix))
        # measured in float64, so that the measurement has no rounding of its own
        rows, inside = (found.astype(jnp.float64) for found in space_of_forty(*given))
        assert jnp.max(jnp.abs(rows @ rows.T - jnp.eye(40))) <= allowed
        assert jnp.max(jnp.abs(rows @ matrix @ rows.T - inside)) <= allowed * jnp.max(jnp.abs(matrix))


MANY = {"k": 6, "num_products": 1000, "key": jax.random.key(0)}
"""More products than parameters: one program for the tests of whole spaces."""


@pytest.mark.parametrize(
    "eigenvalues", [[3.0] * 6, [0.0] * 6, [2.0, 2.0, 2.0, -1.0, -1.0, 0.0], [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]]
)
def test_an_invariant_space_is_continued_and_multiple_eigenvalues_are_found(eigenvalues):
    tree, matrix = draw(eigenvalues)
    got = eigenpairs(matrix_product, tree, matrix, **MANY)
    np.testing.assert_allclose(got.values, sorted(eigenvalues, reverse=True), atol=1e-13)
    assert got.converged.all()
    vectors = jax.vmap(lambda v: ravel_pytree(v)[0])(got.vectors)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(6), atol=1e-12)


def test_eigenvalues_move_as_those_of_the_dense_matrix():
    shares = jnp.array([1.0, 3.0])

    def sharpest(params):
        found = eigenpairs(HESSIAN, params, *PROBLEM.data, k=2, num_products=SIZE, start=START)
        return found.values @ shares

    def dense(params):
        return jnp.linalg.eigvalsh(dense_hessian(bent_square, params, *PROBLEM.data))[::-1][:2] @ shares

    got, want = (jax.jit(jax.grad(height))(PROBLEM.params) for height in (sharpest, dense))
    assert_parity(got, want, tolerance=1e-8)


def test_what_the_product_closes_over_moves_the_eigenvalues_too():
    def largest(scale):
        def product(params, vector):
            return jax.tree.map(lambda v: scale**2 * v, vector)

        return eigenpairs(product, jnp.ones(3), k=1, start=jnp.ones(3)).values[0]

    assert_parity(jax.grad(largest)(jnp.array(3.0)), 6.0)


def test_a_start_of_zeros_gives_way_to_a_direction():
    """The program of the whole space above: what it starts from is a number."""
    blank = jax.tree.map(jnp.zeros_like, START)
    options = {"k": 3, "which": "smallest", "num_products": SIZE}
    got, want = (eigenpairs(HESSIAN, PROBLEM.params, *PROBLEM.data, start=start, **options) for start in (blank, START))
    assert_parity(got.values, want.values)
    assert got.converged.all()
    np.testing.assert_allclose(jax.vmap(_tree.norm)(got.vectors), 1.0, rtol=1e-12)


def test_what_is_not_finite_has_not_converged():
    tree, matrix = draw([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    got = eigenpairs(matrix_product, tree, matrix.at[0, 0].set(jnp.nan), **MANY)
    assert not got.converged.any()
    assert jnp.isnan(got.values).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 16}, "k must be from 1 to 15; got 16. There are 15 parameters"),
        ({"k": 0}, "k must be from 1 to 15; got 0"),
        ({"k": 3, "num_products": 2}, "num_products must be at least 3; got 2"),
        ({"k": 1, "which": "LM"}, "which must be one of 'largest'"),
        ({"k": 1, "key": None}, "give start=.* or key="),
        ({"k": 1, "start": START}, "one of the two"),
        ({"k": 1, "tolerance": -1.0}, "tolerance must not be negative"),
        ({"k": 1, "key": None, "start": {"layer0": {"weight": 1}}}, r"start\['layer0'\]\['bias'\]: got nothing"),
    ],
)
def test_rejects(options, message):
    with pytest.raises(ValueError, match=message):
        eigenpairs(HESSIAN, PROBLEM.params, *PROBLEM.data, **{"key": jax.random.key(0), **options})


def test_rejects_a_product_of_another_shape():
    with pytest.raises(ValueError, match=r"product\(params, vector\)\['a'\]: got float64\[3\], expected float64\[2\]"):
        eigenpairs(lambda p, v: {"a": jnp.ones(3)}, {"a": jnp.ones(2)}, k=1, key=jax.random.key(0))
