"""`per_example.gradients` against a loop; its mean is the gradient of the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.per_example
from jaxgrad.per_example import gradients
from tests.bridge import assert_parity
from tests.laws import assert_sums_to
from tests.problems import mean_square, mean_square_torch, regression


def test_matches_torch():
    problem = regression()
    got = gradients(mean_square, problem.params, *problem.data)
    want = torch_ref.per_example.gradients(mean_square_torch, problem.params_torch, *problem.data_torch)
    assert_parity(got, want, dtypes=False)


def test_rows_average_to_the_gradient_of_the_batch():
    problem = regression()
    rows = gradients(mean_square, problem.params, *problem.data)
    size = problem.data[0].shape[0]
    assert_sums_to(
        jax.tree.map(lambda g: np.asarray(g) / size, rows),
        jax.jit(jax.grad(mean_square))(problem.params, *problem.data),
    )


def test_held_leaves_get_zeros():
    problem = regression()
    full = gradients(mean_square, problem.params, *problem.data)
    got = gradients(mean_square, problem.params, *problem.data, wrt="*/weight")
    want = {k: {"weight": v["weight"], "bias": jnp.zeros_like(v["bias"])} for k, v in full.items()}
    assert_parity(got, want)


def test_rejects_a_loss_that_returns_the_whole_batch():
    def batched(params, x):
        return x * params["w"]

    with pytest.raises(ValueError, match=r"(?s)loss_fn must return a scalar.*takes ONE example"):
        gradients(batched, {"w": jnp.ones(3)}, jnp.ones((4, 3)))


def test_rejects_ragged_leading_axes():
    problem = regression()
    x, y = problem.data
    with pytest.raises(ValueError, match=r"(?s)same leading axis.*batch\[0\].*batch\[1\]"):
        gradients(mean_square, problem.params, x, y[:3])


def test_rejects_integer_parameters():
    with pytest.raises(TypeError, match=r"params\['w'\]: got int"):
        gradients(lambda p, x: p["w"] @ x, {"w": jnp.arange(3)}, jnp.ones((4, 3)))
