"""`gradient.gradient_penalty`: both forms and their parameter gradients against a loop in torch; zero; refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

import torch_ref.gradient
from jaxgrad.gradient import gradient_penalty, parameter_gradient
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_torch
from tests.bridge import assert_parity
from tests.problems import regression

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def critic(params, x, label):
    return jnp.sum(mlp_jax(params, x) * label)


def critic_torch(params, x, label):
    return (mlp_torch(params, x) * label).sum()


@pytest.mark.parametrize("target", [None, 1.0, 0.3])
def test_value_and_parameter_gradient_match_torch(target):
    problem = regression(batch=4)

    def penalty(params, *data):
        return gradient_penalty(critic, params, *data, target=target)

    leaves, structure = pytree.tree_flatten(problem.params_torch)
    leaves = [leaf.requires_grad_() for leaf in leaves]
    params = pytree.tree_unflatten(leaves, structure)
    want = torch_ref.gradient.gradient_penalty(critic_torch, params, *problem.data_torch, target=target)
    slopes = torch.autograd.grad(want, leaves, materialize_grads=True)
    assert_parity(penalty(problem.params, *problem.data), want)
    got = parameter_gradient(penalty, problem.params, *problem.data)
    assert_parity(got, pytree.tree_unflatten(list(slopes), structure))


def linear(params, x):
    return params["w"] @ x["a"] + params["v"] @ x["b"]


def test_closed_form_of_a_linear_critic():
    params = {"w": jnp.array([2.0, 1.0]), "v": jnp.array([2.0])}
    x = {"a": jnp.ones((5, 2)), "b": jnp.ones((5, 1))}
    assert_parity(gradient_penalty(linear, params, x), np.array(4.0))
    assert_parity(gradient_penalty(linear, params, x, target=None), np.array(9.0))
    slope = jax.jit(jax.grad(lambda p: gradient_penalty(linear, p, x)))(params)
    # d/dw (|w| - 1)^2 = 2 (|w| - 1) w / |w|
    assert_parity(slope, {"w": np.array([8 / 3, 4 / 3]), "v": np.array([8 / 3])})


@pytest.mark.parametrize("target", [None, 1.0])
def test_derivative_is_finite_where_the_gradient_is_zero(target):
    params, x = {"w": jnp.zeros(2), "v": jnp.zeros(1)}, {"a": jnp.ones((3, 2)), "b": jnp.ones((3, 1))}
    slope = jax.jit(jax.grad(lambda p: gradient_penalty(linear, p, x, target=target)))(params)
    assert_parity(slope, jax.tree.map(np.zeros_like, params))


def test_plain_square_keeps_its_second_derivative_at_zero():
    def penalty(w):
        return gradient_penalty(lambda w, x: w @ x, w, jnp.ones((3, 2)), target=None)

    assert_parity(jax.jit(jax.hessian(penalty))(jnp.zeros(2)), 2 * np.eye(2))


def test_target_may_be_traced():
    problem = regression(batch=4)
    targets = jnp.array([0.0, 0.5, 1.0])
    rows = jax.jit(jax.vmap(lambda c: gradient_penalty(critic, problem.params, *problem.data, target=c)))(targets)
    assert_parity(rows[1], gradient_penalty(critic, problem.params, *problem.data, target=0.5))


def test_rejects_what_does_not_fit():
    problem = regression(batch=4)
    x, label = problem.data
    with pytest.raises(ValueError, match=r"target must not be negative or NaN; got -1\.0"):
        gradient_penalty(critic, problem.params, x, label, target=-1.0)
    with pytest.raises(ValueError, match=r"target must be one number, of shape \(\); got float64\[4\]"):
        gradient_penalty(critic, problem.params, x, label, target=jnp.ones(4))
    with pytest.raises(ValueError, match=r"(?s)same leading axis.*got float64\[4,3\].*got float64\[3,2\]"):
        gradient_penalty(critic, problem.params, x, label[:3])
    with pytest.raises(ValueError, match="the batch is empty"):
        gradient_penalty(critic, problem.params, x[:0], label[:0])
    with pytest.raises(ValueError, match=r"fun must return a scalar.*got float64\[2\]"):
        gradient_penalty(mlp_jax, problem.params, x)
