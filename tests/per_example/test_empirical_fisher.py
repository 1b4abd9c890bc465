"""The empirical Fisher matrix: the reference, its laws, its product with a vector, and what is too large."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import torch_ref.per_example
from jaxgrad.per_example import empirical_fisher, empirical_fisher_product
from tests.bridge import assert_parity, random_like, to_torch
from tests.laws import assert_linear, assert_symmetric
from tests.problems import mean_square, mean_square_torch, regression

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def test_matches_torch():
    problem = regression()
    got = empirical_fisher(mean_square, problem.params, *problem.data)
    want = torch_ref.per_example.empirical_fisher(mean_square_torch, problem.params_torch, *problem.data_torch)
    # torch keeps the insertion order of the layers and their weight before bias; so does the matrix of the reference
    assert_parity(jnp.linalg.eigvalsh(got), np.linalg.eigvalsh(want.numpy()))


def test_is_symmetric_and_positive_semi_definite():
    problem = regression()
    fisher = empirical_fisher(mean_square, problem.params, *problem.data)
    assert_parity(fisher, fisher.T)
    assert jnp.linalg.eigvalsh(fisher).min() > -1e-12


def test_product_matches_torch_and_the_matrix():
    problem = regression()
    vector = random_like(problem.params, 3)
    got = empirical_fisher_product(mean_square, problem.params, vector, *problem.data)
    want = torch_ref.per_example.empirical_fisher_product(
        mean_square_torch, problem.params_torch, to_torch(vector), *problem.data_torch
    )
    assert_parity(got, want)
    dense = empirical_fisher(mean_square, problem.params, *problem.data)
    assert_parity(ravel_pytree(got)[0], dense @ ravel_pytree(vector)[0])


def test_product_is_symmetric_and_linear():
    problem = regression()
    assert_symmetric(lambda v: empirical_fisher_product(mean_square, problem.params, v, *problem.data), problem.params)
    assert_linear(lambda v: empirical_fisher_product(mean_square, problem.params, v, *problem.data), problem.params)


def test_product_with_held_leaves_is_a_block():
    problem = regression()
    vector = random_like(problem.params, 3)
    masked = {k: {"weight": v["weight"], "bias": jnp.zeros_like(v["bias"])} for k, v in vector.items()}
    full = empirical_fisher_product(mean_square, problem.params, masked, *problem.data)
    want = jax.tree.map(lambda x: x, {k: {**v, "bias": jnp.zeros_like(v["bias"])} for k, v in full.items()})
    got = empirical_fisher_product(mean_square, problem.params, vector, *problem.data, wrt="*/weight")
    assert_parity(got, want)


def test_refuses_a_matrix_that_is_too_large():
    problem = regression()
    with pytest.raises(ValueError, match="empirical_fisher_product for products"):
        empirical_fisher(mean_square, problem.params, *problem.data, max_bytes=1000)
