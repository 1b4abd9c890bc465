"""`curvature.jacobian_product` against dense Jacobians in torch, from both sides, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.curvature
from jaxgrad import _tree
from jaxgrad.curvature import jacobian_product
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_torch
from tests.bridge import assert_parity, random_like, to_torch
from tests.curvature.test_ggn_product import tanh
from tests.problems import regression

PROBLEM = regression((3, 4, 2), batch=5)
PARAMS, X = PROBLEM.params, PROBLEM.data[0]
VECTOR, COTANGENT = random_like(PARAMS, 1), random_like(jnp.asarray(np.zeros((5, 2))), 2)


def test_matches_torch_from_both_sides():
    given = (mlp_torch, PROBLEM.params_torch)
    x = PROBLEM.data_torch[0]
    forward = torch_ref.curvature.jacobian_product(*given, to_torch(VECTOR), x)
    assert_parity(jacobian_product(mlp_jax, PARAMS, VECTOR, X), forward)
    backward = torch_ref.curvature.jacobian_product(*given, to_torch(COTANGENT), x, transpose=True)
    assert_parity(jacobian_product(mlp_jax, PARAMS, COTANGENT, X, transpose=True), backward)


def test_the_two_sides_are_transposed(compiled_quickly):
    forward = jacobian_product(mlp_jax, PARAMS, VECTOR, X, wrt="layer1")
    backward = jacobian_product(mlp_jax, PARAMS, COTANGENT, X, wrt="layer1", transpose=True)
    assert_parity(_tree.dot(forward, COTANGENT), _tree.dot(backward, VECTOR))
    assert not any(jnp.any(leaf) for leaf in jax.tree.leaves(backward["layer0"]))


@pytest.mark.parametrize("transpose", [False, True])
def test_several_vectors(transpose, compiled_quickly):
    vector = COTANGENT if transpose else VECTOR
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, -leaf, 2 * leaf]), vector)
    one = jacobian_product(mlp_jax, PARAMS, vector, X, transpose=transpose)
    got = jacobian_product(mlp_jax, PARAMS, stacked, X, transpose=transpose, chunk=2)
    assert_parity(got, jax.tree.map(lambda leaf: jnp.stack([leaf, -leaf, 2 * leaf]), one))


def test_a_function_with_a_reverse_rule_alone(compiled_quickly):
    for transpose, vector in ((False, VECTOR), (True, COTANGENT)):
        got = jacobian_product(lambda p, x: mlp_jax(p, x, tanh), PARAMS, vector, X, transpose=transpose)
        assert_parity(got, jacobian_product(mlp_jax, PARAMS, vector, X, transpose=transpose))


def test_results_may_be_any_tree_with_an_aux(compiled_quickly):
    def both(p, x):
        f = mlp_jax(p, x)
        return {"sum": f.sum(0), "first": f[0, 0]}, f

    product, aux = jacobian_product(both, PARAMS, VECTOR, X, has_aux=True)
    assert_parity(aux, mlp_jax(PARAMS, X))
    assert_parity(product["sum"], jacobian_product(mlp_jax, PARAMS, VECTOR, X).sum(0))


def test_refuses_a_cotangent_that_does_not_mirror_the_result():
    with pytest.raises(
        ValueError, match=r"(?s)structure, shapes and dtypes of the result of fun.*expected float64\[5,2"
    ):
        jacobian_product(mlp_jax, PARAMS, COTANGENT[:3], X, transpose=True)
    with pytest.raises(TypeError, match=r"(?s)the result of fun must have leaves that are .*got int64\[5\]"):
        jacobian_product(lambda p, x: jnp.argmax(mlp_jax(p, x), -1), PARAMS, VECTOR, X)
