"""`gradient.input_gradient`: parity, a closed form, inputs that are trees, and what is refused."""

import jax
import jax.numpy as jnp
import pytest

import torch_ref.gradient
from jaxgrad.gradient import input_gradient
from tests.bridge import assert_parity
from tests.problems import mean_square, mean_square_torch, regression


def test_matches_torch():
    problem = regression()
    got = input_gradient(mean_square, problem.params, *problem.data)
    want = torch_ref.gradient.input_gradient(mean_square_torch, problem.params_torch, *problem.data_torch)
    assert_parity(got, want, dtypes=True)


def on_a_pair(params, x, y):
    return mean_square(params, x["left"] * x["right"], y)


def on_a_pair_torch(params, x, y):
    return mean_square_torch(params, x["left"] * x["right"], y)


def test_takes_a_tree():
    problem = regression()
    (x, y), (xt, yt) = problem.data, problem.data_torch
    got = input_gradient(on_a_pair, problem.params, {"left": x, "right": x + 1}, y)
    want = torch_ref.gradient.input_gradient(on_a_pair_torch, problem.params_torch, {"left": xt, "right": xt + 1}, yt)
    assert_parity(got, want)


def form(matrix, x):
    return 0.5 * x @ matrix @ x


def test_closed_form_of_a_quadratic():
    matrix = jnp.array([[2.0, 1.0], [1.0, 3.0]])
    assert_parity(input_gradient(form, matrix, jnp.array([1.0, -1.0])), jnp.array([1.0, -2.0]))


def test_maps_over_examples():
    problem = regression()
    x, y = problem.data
    rows = jax.jit(jax.vmap(lambda x, y: input_gradient(mean_square, problem.params, x, y)))(x, y)
    assert_parity(rows / len(x), input_gradient(mean_square, problem.params, x, y))


def test_parameters_may_be_integers():
    assert_parity(input_gradient(lambda p, x: jnp.sum(x[p]), jnp.array([0, 0, 2]), jnp.ones(3)), jnp.array([2.0, 0, 1]))


def test_rejects_an_integer_input():
    with pytest.raises(TypeError, match=r"x\['a'\]: got int"):
        input_gradient(lambda p, x: jnp.sum(x["a"]) * p, 2.0, {"a": jnp.arange(3)})


def test_rejects_a_function_that_is_no_scalar():
    with pytest.raises(ValueError, match=r"fun must return a scalar, .* got float64\[3\]"):
        input_gradient(lambda p, x: p * x, 2.0, jnp.ones(3))
