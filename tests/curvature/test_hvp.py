"""`curvature.hvp` against double backward, a closed form, its laws, and what it refuses."""

import jax
import jax.numpy as jnp
import pytest

import torch_ref.curvature
from jaxgrad.curvature import hvp
from tests.bridge import assert_parity, random_like, to_torch
from tests.laws import assert_linear, assert_symmetric
from tests.problems import mean_square, mean_square_torch, regression

MODES = ("forward-over-reverse", "reverse-over-reverse")


@pytest.mark.parametrize("mode", MODES)
def test_matches_torch(mode):
    problem = regression()
    vector = random_like(problem.params, 1)
    got = hvp(mean_square, problem.params, vector, *problem.data, mode=mode)
    want = torch_ref.curvature.hvp(mean_square_torch, problem.params_torch, to_torch(vector), *problem.data_torch)
    assert_parity(got, want)


def quadratic(params, matrix):
    x = jnp.concatenate([params["a"], params["b"]])
    return 0.5 * x @ matrix @ x


def test_closed_form_of_a_quadratic():
    matrix = jnp.array([[2.0, 1.0, 0.5], [1.0, 3.0, -1.0], [0.5, -1.0, 4.0]])
    params = {"a": jnp.ones(1), "b": jnp.ones(2)}
    got = hvp(quadratic, params, {"a": jnp.array([1.0]), "b": jnp.array([2.0, 3.0])}, matrix)
    assert_parity(got, {"a": jnp.array([5.5]), "b": jnp.array([4.0, 10.5])})


def test_is_symmetric_and_linear():
    problem = regression()
    assert_symmetric(lambda v: hvp(mean_square, problem.params, v, *problem.data), problem.params)
    assert_linear(lambda v: hvp(mean_square, problem.params, v, *problem.data), problem.params)


def test_zero_vector_gives_zero():
    problem = regression()
    zero = jax.tree.map(jnp.zeros_like, problem.params)
    assert_parity(hvp(mean_square, problem.params, zero, *problem.data), zero)


def test_wrt_is_a_block_of_the_hessian():
    problem = regression()
    vector = random_like(problem.params, 1)
    masked = {k: {"weight": v["weight"], "bias": jnp.zeros_like(v["bias"])} for k, v in vector.items()}
    full = hvp(mean_square, problem.params, masked, *problem.data)
    want = {k: {"weight": v["weight"], "bias": jnp.zeros_like(v["bias"])} for k, v in full.items()}
    assert_parity(hvp(mean_square, problem.params, vector, *problem.data, wrt="*/weight"), want)


def test_rejects_a_vector_of_another_shape():
    problem = regression()
    wrong = {**problem.params, "layer0": {"weight": jnp.ones((3, 6))}}
    with pytest.raises(ValueError, match=r"(?s)vector\['layer0'\]\['bias'\]: got nothing.*float64\[6,3\]"):
        hvp(mean_square, problem.params, wrong, *problem.data)


def test_rejects_an_unknown_mode():
    problem = regression()
    with pytest.raises(ValueError, match="mode must be one of 'forward-over-reverse'"):
        hvp(mean_square, problem.params, problem.params, *problem.data, mode="reverse")
