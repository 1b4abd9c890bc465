"""`per_example.norms` against a loop and closed forms."""

import jax
import jax.numpy as jnp
import pytest

import torch_ref.per_example
from jaxgrad import _tree
from jaxgrad.per_example import gradients, norms
from tests.bridge import assert_parity
from tests.problems import mean_square, mean_square_torch, regression

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def test_matches_torch():
    problem = regression()
    got = norms(mean_square, problem.params, *problem.data)
    want = torch_ref.per_example.norms(mean_square_torch, problem.params_torch, *problem.data_torch)
    assert_parity(got, want)


def test_per_leaf_norms_are_those_of_the_leaves():
    problem = regression()
    rows = gradients(mean_square, problem.params, *problem.data)
    got = norms(mean_square, problem.params, *problem.data, per_leaf=True)
    assert_parity(got, jax.tree.map(_tree.norms_of_rows, rows))


def test_held_leaves_do_not_count():
    problem = regression()
    rows = gradients(mean_square, problem.params, *problem.data, wrt="layer1")
    got = norms(mean_square, problem.params, *problem.data, wrt="layer1")
    assert_parity(got, _tree.norms_of_rows(rows))


def test_a_zero_gradient_has_norm_zero_and_a_finite_derivative():
    def loss(params, x):
        return params["w"] ** 2 * x

    params = {"w": jnp.array(0.0)}
    assert_parity(norms(loss, params, jnp.ones(3)), jnp.zeros(3))
    slope = jax.jit(jax.grad(lambda p: norms(loss, p, jnp.ones(3)).sum()))(params)["w"]
    assert jnp.isfinite(slope)


def test_rejects_a_loss_that_is_no_scalar():
    with pytest.raises(ValueError, match=r"(?s)must return a scalar.*takes ONE example"):
        norms(lambda p, x: p * x, jnp.ones(3), jnp.ones((4, 3)))
