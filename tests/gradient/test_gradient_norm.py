"""`gradient.gradient_norm` and `squared_norm_gradient`: parity, closed forms, the relation to the Hessian, zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import torch_ref.gradient
from jaxgrad import curvature
from jaxgrad.gradient import gradient_norm, parameter_gradient, squared_norm_gradient
from tests.bridge import assert_parity
from tests.problems import mean_square, mean_square_torch, regression

pytestmark = pytest.mark.usefixtures("compiled_quickly")

MODES = ("forward-over-reverse", "reverse-over-reverse")


def mean_of_squares(a):
    return jnp.mean(a * a)


def test_norm_and_its_derivative_of_a_mean_of_squares():
    a = jnp.arange(5.0)
    assert_parity(gradient_norm(mean_of_squares, a), 0.4 * np.sqrt(30))
    slope = jax.jit(jax.grad(lambda a: gradient_norm(mean_of_squares, a)))(a)
    assert np.round(np.asarray(slope), 4).tolist() == [0, 0.0730, 0.1461, 0.2191, 0.2921]
    at = torch.arange(5, dtype=torch.float64, requires_grad=True)
    norm = torch_ref.gradient.gradient_norm(lambda a: (a * a).mean(), at)
    assert_parity(slope, torch.autograd.grad(norm, at)[0])


def test_derivative_of_the_norm_is_finite_at_zero():
    norm, slope = jax.jit(jax.value_and_grad(lambda a: gradient_norm(mean_of_squares, a)))(jnp.zeros(3))
    assert_parity((norm, slope), (np.zeros(()), np.zeros(3)))
    at = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    assert_parity(slope, torch.autograd.grad(torch_ref.gradient.gradient_norm(lambda a: (a * a).mean(), at), at)[0])


@pytest.mark.parametrize("mode", MODES)
def test_square_matches_torch(mode):
    problem = regression()
    got = squared_norm_gradient(mean_square, problem.params, *problem.data, mode=mode)
    want = torch_ref.gradient.squared_norm_gradient(mean_square_torch, problem.params_torch, *problem.data_torch)
    assert_parity(got, want, dtypes=True)


def test_gradient_of_the_square_is_twice_the_hessian_times_the_gradient():
    problem = regression()
    gradient = parameter_gradient(mean_square, problem.params, *problem.data)
    product = curvature.hvp(mean_square, problem.params, gradient, *problem.data)
    square, slope = squared_norm_gradient(mean_square, problem.params, *problem.data)
    assert_parity(slope, jax.tree.map(lambda leaf: 2 * leaf, product))
    assert_parity(square, gradient_norm(mean_square, problem.params, *problem.data) ** 2)


@pytest.mark.parametrize("mode", MODES)
def test_wrt_takes_the_sum_and_the_gradient_over_one_leaf(mode):
    problem = regression()

    def square_of_one_leaf(weight):
        layer = {**problem.params["layer1"], "weight": weight}
        gradient = jax.grad(mean_square)({**problem.params, "layer1": layer}, *problem.data)
        return jnp.sum(gradient["layer1"]["weight"] ** 2)

    square, slope = squared_norm_gradient(mean_square, problem.params, *problem.data, mode=mode, wrt="layer1/weight")
    want = jax.jit(jax.value_and_grad(square_of_one_leaf))(problem.params["layer1"]["weight"])
    assert_parity((square, slope["layer1"]["weight"]), want)
    assert_parity(slope["layer0"], jax.tree.map(jnp.zeros_like, problem.params["layer0"]))


@jax.custom_vjp
def softened(x):
    return jnp.log1p(jnp.exp(x))


softened.defvjp(lambda x: (softened(x), x), lambda x, g: (g * jax.nn.sigmoid(x),))


def test_reverse_mode_serves_a_custom_vjp():
    x = jnp.array([0.5, -1.0])
    _, slope = squared_norm_gradient(lambda x: jnp.sum(softened(x)), x, mode="reverse-over-reverse")
    s = jax.nn.sigmoid(x)
    assert_parity(slope, 2 * s * s * (1 - s))


def test_rejects_an_unknown_mode():
    with pytest.raises(ValueError, match="mode must be one of 'forward-over-reverse', 'reverse-over-reverse'"):
        squared_norm_gradient(mean_of_squares, jnp.ones(2), mode="forward")
