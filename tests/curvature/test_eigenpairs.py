"""`curvature.eigenpairs` against dense eigenvalues, its derivative, invariant spaces, and what it refuses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import torch_ref.curvature
from jaxgrad import _tree
from jaxgrad.curvature import dense_hessian, eigenpairs, hvp
from tests.bridge import assert_parity, random_like
from tests.problems import mean_square, mean_square_torch, regression

HESSIAN = functools.partial(hvp, mean_square)
PROBLEM = regression((3, 4, 2))
START = random_like(PROBLEM.params, 3)
SIZE = 26

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def matrix_product(params, vector, matrix):
    """A symmetric matrix times a dictionary of two leaves."""
    flat, tree = ravel_pytree(vector)
    return tree(matrix @ flat)


def draw(eigenvalues, seed=0):
    """Return a matrix with these eigenvalues, and a tree of its size."""
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=[len(eigenvalues)] * 2))[0]
    tree = {"a": jnp.ones(2), "b": jnp.ones((len(eigenvalues) - 2, 1))}
    return tree, jnp.asarray(rotation * np.asarray(eigenvalues) @ rotation.T)


@pytest.mark.parametrize("which", ["largest", "smallest", "magnitude"])
def test_a_whole_space_gives_the_pairs_of_torch(which):
    got = eigenpairs(HESSIAN, PROBLEM.params, *PROBLEM.data, k=3, which=which, num_products=SIZE, start=START)
    product = functools.partial(torch_ref.curvature.hvp, mean_square_torch)
    values, vectors = torch_ref.curvature.eigenpairs(
        product, PROBLEM.params_torch, *PROBLEM.data_torch, k=3, which=which
    )
    assert_parity(got.values, values)
    assert got.converged.all()
    for i, want in enumerate(vectors):
        mine = _tree.take(got.vectors, i)
        first, theirs = mine["layer0"]["weight"][0, 0], float(want["layer0"]["weight"][0, 0])
        sign = jnp.sign(first * theirs)
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


@pytest.mark.parametrize("eigenvalues", [[3.0] * 6, [0.0] * 6, [2.0, 2.0, 2.0, -1.0, -1.0, 0.0]])
def test_an_invariant_space_is_continued_and_multiple_eigenvalues_are_found(eigenvalues):
    tree, matrix = draw(eigenvalues)
    got = eigenpairs(matrix_product, tree, matrix, k=6, key=jax.random.key(0))
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
        return jnp.linalg.eigvalsh(dense_hessian(mean_square, params, *PROBLEM.data))[::-1][:2] @ shares

    got, want = (jax.jit(jax.grad(height))(PROBLEM.params) for height in (sharpest, dense))
    assert_parity(got, want, tolerance=1e-8)


def test_what_the_product_closes_over_moves_the_eigenvalues_too():
    def largest(scale):
        def product(params, vector):
            return jax.tree.map(lambda v: scale**2 * v, vector)

        return eigenpairs(product, jnp.ones(3), k=1, start=jnp.ones(3)).values[0]

    assert_parity(jax.grad(largest)(jnp.array(3.0)), 6.0)


def test_no_space_is_larger_than_that_of_the_parameters():
    tree, matrix = draw([1.0, 2.0, 3.0, 4.0])
    got = eigenpairs(matrix_product, tree, matrix, k=4, num_products=1000, key=jax.random.key(0))
    assert_parity(got.values, jnp.array([4.0, 3.0, 2.0, 1.0]))


def test_what_is_not_finite_has_not_converged():
    tree, matrix = draw([1.0, 2.0, 3.0, 4.0])
    got = eigenpairs(matrix_product, tree, matrix.at[0, 0].set(jnp.nan), k=2, key=jax.random.key(0))
    assert not got.converged.any()
    assert jnp.isnan(got.values).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 27}, "k must be from 1 to 26; got 27. There are 26 parameters"),
        ({"k": 0}, "k must be from 1 to 26; got 0"),
        ({"k": 3, "num_products": 2}, "num_products must be at least 3; got 2"),
        ({"k": 1, "which": "LM"}, "which must be one of 'largest'"),
        ({"k": 1, "key": None}, "give start=.* or key="),
        ({"k": 1, "start": START}, "one of the two"),
        ({"k": 1, "tolerance": -1.0}, "tolerance must not be negative"),
        ({"k": 1, "key": None, "start": {"layer0": START["layer0"]}}, r"start\['layer1'\]\['bias'\]: got nothing"),
    ],
)
def test_rejects(options, message):
    with pytest.raises(ValueError, match=message):
        eigenpairs(HESSIAN, PROBLEM.params, *PROBLEM.data, **{"key": jax.random.key(0), **options})


def test_rejects_a_product_of_another_shape():
    with pytest.raises(ValueError, match=r"product\(params, vector\)\['a'\]: got float64\[3\], expected float64\[2\]"):
        eigenpairs(lambda p, v: {"a": jnp.ones(3)}, {"a": jnp.ones(2)}, k=1, key=jax.random.key(0))
