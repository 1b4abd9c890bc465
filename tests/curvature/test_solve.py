"""`curvature.solve` against the dense system, its derivatives, its flags, and what it refuses."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import torch_ref.curvature
from jaxgrad.curvature import dense_hessian, ekfac, hvp, kfac, solve
from jaxgrad.per_example import empirical_fisher_product
from tests.bridge import assert_parity, random_like, to_torch
from tests.curvature.matrices import draw, matrix_product
from tests.curvature.one_layer import HESSIAN, HESSIAN_TORCH, PROBLEM, bent_square
from tests.problems import regression
from tests.turns import one_in

RHS = random_like(PROBLEM.params, 5)
DAMPING = 2.0
CLOSE = {"tolerance": 1e-13, "max_products": 60}

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


@pytest.mark.parametrize("method", ["cg", "neumann"])
def test_matches_torch(method):
    options = {**CLOSE, "max_products": 1000, "method": method}
    got = solve(HESSIAN, PROBLEM.params, RHS, *PROBLEM.data, damping=DAMPING, **options)
    given = PROBLEM.params_torch, to_torch(RHS), *PROBLEM.data_torch
    want = torch_ref.curvature.solve(HESSIAN_TORCH, *given, damping=DAMPING)
    assert_parity(got.solution, want)
    assert (got.converged, got.indefinite) == (True, False)
    assert got.residual_norm < 1e-13


def dense(params, rhs, x, y, damping):
    """The solution by a dense matrix."""
    flat, tree = ravel_pytree(rhs)
    matrix = dense_hessian(bent_square, params, x, y)
    return tree(jnp.linalg.solve(matrix + damping * jnp.eye(flat.size), flat))


def by_products(params, rhs, x, y, damping):
    return solve(HESSIAN, params, rhs, x, y, damping=damping, **CLOSE).solution


def test_derivatives_are_those_of_the_dense_system():
    """With respect to the parameters, the right-hand side, the data and the damping, backward and forward."""

    @functools.partial(jax.jit, static_argnums=0)
    def along(solver):
        def height(*given):
            return ravel_pytree(solver(*given))[0] @ jnp.arange(15.0)

        given = (PROBLEM.params, RHS, *PROBLEM.data, jnp.array(DAMPING))
        slope = jax.grad(height, argnums=(0, 1, 2, 3, 4))
        _, bend = jax.jvp(slope, given, jax.tree.map(lambda leaf: jnp.cos(leaf), given))
        return slope(*given), bend

    assert_parity(along(by_products), along(dense), tolerance=1e-9)


def test_one_leaf_of_the_right_hand_side_is_differentiated():
    tree, matrix = draw([3.0, 1.0, 2.0, 5.0])

    def height(a):
        rhs = {"a": a, "b": jnp.ones((2, 1))}
        return solve(matrix_product, tree, rhs, matrix, damping=1.0, tolerance=1e-14).solution["b"].sum()

    inverse = jnp.linalg.inv(matrix + jnp.eye(4))
    assert_parity(jax.jit(jax.grad(height))(jnp.ones(2)), inverse[:2, 2:].sum(1))


TREE, MATRIX = draw([*np.geomspace(1e-3, 10, 38), 1.0, 1.0])
FAR = jax.tree.map(jnp.ones_like, TREE)


class Exactly(NamedTuple):
    """A guess that is the matrix itself."""

    matrix: jax.Array

    def inverse_product(self, vector, damping):
        flat, tree = ravel_pytree(vector)
        return tree(jnp.linalg.solve(self.matrix + damping * jnp.eye(flat.size), flat))


def test_a_preconditioner_saves_products():
    """The exact inverse takes one step, and one product for the residual; here it is known in three ways."""
    matrix = jnp.diag(jnp.geomspace(1.0, 1e4, 40))
    diagonal = ravel_pytree(TREE)[1](jnp.diag(matrix))

    def exact(tree):
        return jax.tree.map(lambda leaf, size: leaf / (size + 0.1), tree, diagonal)

    given = functools.partial(solve, matrix_product, TREE, FAR, matrix, damping=0.1, tolerance=1e-10, max_products=500)
    plain = given()
    assert plain.converged
    assert int(plain.products) > 40
    for preconditioner in (diagonal, exact, Exactly(matrix)):
        found = given(preconditioner=preconditioner)
        assert (int(found.products), bool(found.converged)) == (2, True)
        assert_parity(found.solution, plain.solution, tolerance=1e-7)


@pytest.mark.parametrize("factors", one_in(2, [kfac, ekfac]))
def test_kronecker_factors_are_preconditioners(factors):
    """Of a Fisher matrix whose inputs are of several sizes, which is what factors see and a diagonal does not."""
    params, (x, y) = PROBLEM.params, regression((4, 3), batch=32).data
    x = x * jnp.geomspace(0.1, 10.0, 4)[None]
    fisher = functools.partial(empirical_fisher_product, bent_square)
    given = functools.partial(solve, fisher, params, RHS, x, y, damping=1e-3, tolerance=1e-8)
    plain, found = given(), given(preconditioner=factors(bent_square, params, x, y))
    assert plain.converged
    assert found.converged
    assert int(found.products) < int(plain.products), (found.products, plain.products)
    assert_parity(found.solution, plain.solution, tolerance=1e-5)


def test_the_residual_is_the_true_one_and_few_products_are_told():
    found = solve(matrix_product, TREE, FAR, MATRIX, damping=0.1, max_products=4)
    flat, wanted = ravel_pytree(found.solution)[0], ravel_pytree(FAR)[0]
    true = jnp.linalg.norm(wanted - MATRIX @ flat - 0.1 * flat) / jnp.linalg.norm(wanted)
    assert_parity(found.residual_norm, true)
    assert (int(found.products), bool(found.converged), bool(found.indefinite)) == (5, False, False)


def test_a_start_is_used():
    want = solve(matrix_product, TREE, FAR, MATRIX, damping=0.1, max_products=200, tolerance=1e-12)
    again = solve(matrix_product, TREE, FAR, MATRIX, damping=0.1, start=want.solution, tolerance=1e-9)
    assert int(again.products) == 2
    assert_parity(again.solution, want.solution)


@pytest.mark.parametrize("method", ["cg", "neumann"])
def test_an_indefinite_matrix_is_told_with_its_residual(method):
    tree, matrix = draw([-5.0, 1.0, 2.0, 3.0, 4.0, 6.0])
    found = solve(matrix_product, tree, jax.tree.map(jnp.ones_like, tree), matrix, damping=0.5, method=method)
    assert found.indefinite
    assert not found.converged
    assert found.residual_norm > 1e-5
    mended = solve(matrix_product, tree, jax.tree.map(jnp.ones_like, tree), matrix, damping=5.5, method="cg")
    assert mended.converged
    assert not mended.indefinite


def test_a_right_hand_side_of_zeros_and_one_that_is_not_finite():
    zero = jax.tree.map(jnp.zeros_like, TREE)
    for method in ("cg", "neumann"):
        found = solve(matrix_product, TREE, zero, MATRIX, damping=0.1, method=method)
        assert_parity(found.solution, zero)
        assert found.converged
        broken = solve(
            matrix_product, TREE, jax.tree.map(lambda x: x * jnp.nan, TREE), MATRIX, damping=0.1, method=method
        )
        assert not broken.converged
        # of zeros, with which the iteration would begin, nobody would know
        assert all(jnp.isnan(leaf).all() for leaf in jax.tree.leaves(broken.solution))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"damping": -1.0}, "damping must not be negative or NaN; got -1.0"),
        ({"tolerance": -1e-3}, "tolerance must not be negative"),
        ({"max_products": 0}, "max_products must be at least 1; got 0"),
        ({"method": "gmres"}, "method must be one of 'cg', 'neumann'; got 'gmres'"),
        ({"preconditioner": {"a": np.ones(2)}}, r"preconditioner\[.b.\]: got nothing"),
        ({"preconditioner": lambda tree: tree["a"]}, r"preconditioner\(vector\)\['a'\]: got nothing, expected"),
        ({"start": {"a": np.ones(2)}}, r"start\['b'\]: got nothing"),
        ({"rhs": {"a": np.ones(2), "b": np.ones(3), "c": 1.0}}, r"(?s)rhs\['b'\]: got.*rhs\['c'\]: got"),
    ],
)
def test_rejects(options, message):
    given = {"rhs": FAR, "damping": 0.1, **options}
    with pytest.raises(ValueError, match=message):
        solve(matrix_product, TREE, given.pop("rhs"), MATRIX, **given)


@pytest.mark.parametrize("diagonal", [[2.0, 2.0, 0.0, 0.0, 0.0, 0.0], [2.0, 0.18, 8.0, 0.0, 0.0, 0.0]])
def test_a_singular_matrix_ends_at_its_null_space(diagonal):
    """In float32 the curvature there is a rounding, and a step along it as long as one over a rounding."""

    def loss(w, diagonal):
        return 0.5 * jnp.sum(diagonal * w**2)

    rhs, diagonal = jax.random.normal(jax.random.key(0), (6,), jnp.float32), jnp.asarray(diagonal, jnp.float32)
    found = solve(functools.partial(hvp, loss), jnp.ones(6, jnp.float32), rhs, diagonal, damping=0.0)
    assert (bool(found.converged), bool(found.indefinite)) == (False, True)
    assert jnp.max(jnp.abs(found.solution)) < 100
    assert found.residual_norm < 1
