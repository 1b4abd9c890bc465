"""`curvature.dense_hessian` against row-by-row double backward, and its refusal of large matrices."""

import jax
import jax.numpy as jnp
import pytest
from jax.flatten_util import ravel_pytree

import torch_ref.curvature
from jaxgrad.curvature import dense_hessian, hvp
from tests.bridge import assert_parity, random_like
from tests.problems import mean_square, mean_square_torch, regression
from tests.turns import one_in


def sorted_like_jax(tree):
    return {name: dict(sorted(leaf.items())) for name, leaf in sorted(tree.items())}


def test_matches_torch(compiled_quickly):
    problem = regression()
    want = torch_ref.curvature.dense_hessian(
        mean_square_torch, sorted_like_jax(problem.params_torch), *problem.data_torch
    )
    assert_parity(dense_hessian(mean_square, problem.params, *problem.data), want)


def test_times_a_vector_is_the_product(compiled_quickly):
    problem = regression()
    vector = random_like(problem.params, 1)
    dense = dense_hessian(mean_square, problem.params, *problem.data)
    product = hvp(mean_square, problem.params, vector, *problem.data)
    assert_parity(dense @ ravel_pytree(vector)[0], ravel_pytree(product)[0])


def test_wrt_takes_the_block(compiled_quickly):
    problem = regression()
    block = dense_hessian(mean_square, problem.params, *problem.data, wrt="layer0")
    assert_parity(block, dense_hessian(mean_square, problem.params, *problem.data)[:24, :24])


@pytest.mark.parametrize("chunk", one_in(3, [7, 1, 71, 200]))
def test_chunks_change_nothing_but_rounding(chunk, compiled_quickly):
    problem = regression()
    got = dense_hessian(mean_square, problem.params, *problem.data, chunk=chunk)
    assert_parity(got, dense_hessian(mean_square, problem.params, *problem.data))


def test_chunks_take_less_memory():
    problem = regression()
    x, y = [jnp.tile(part, (16, 1)) for part in problem.data]

    def temporaries(chunk):
        program = jax.jit(lambda p, x, y: dense_hessian(mean_square, p, x, y, chunk=chunk))
        return program.lower(problem.params, x, y).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(None) > 2 * temporaries(16) > 3 * temporaries(4)


def test_rejects_a_chunk_of_nothing():
    with pytest.raises(ValueError, match="chunk must be at least 1; got 0"):
        dense_hessian(jnp.sum, jnp.ones(3), chunk=0)


def test_rejects_a_matrix_beyond_the_limit():
    problem = regression()
    with pytest.raises(ValueError, match="71 parameters takes 40,328 bytes"):
        dense_hessian(mean_square, problem.params, *problem.data, max_bytes=1000)


def test_rejects_a_loss_that_is_no_scalar():
    with pytest.raises(ValueError, match=r"got float64\[3\]: reduce it"):
        dense_hessian(lambda p: p, jnp.ones(3))
