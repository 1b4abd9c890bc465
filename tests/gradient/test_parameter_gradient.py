"""`gradient.parameter_gradient` and `value_and_grad`: parity, leaves held, stopped values, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import torch_ref.gradient
from jaxgrad.gradient import parameter_gradient, value_and_grad
from tests.bridge import assert_parity
from tests.problems import mean_square, mean_square_torch, regression


def test_matches_torch():
    problem = regression()
    got = value_and_grad(mean_square, problem.params, *problem.data)
    want = torch_ref.gradient.value_and_grad(mean_square_torch, problem.params_torch, *problem.data_torch)
    assert_parity(got, want, dtypes=True)
    assert_parity(parameter_gradient(mean_square, problem.params, *problem.data), want[1], dtypes=True)


def is_matrix(path, leaf):
    return leaf.ndim > 1


@pytest.mark.parametrize("wrt", ["*/weight", ["layer?/weight"], is_matrix])
def test_wrt_leaves_zeros_on_the_others(wrt):
    problem = regression()
    full = parameter_gradient(mean_square, problem.params, *problem.data)
    want = {k: {"weight": v["weight"], "bias": jnp.zeros_like(v["bias"])} for k, v in full.items()}
    assert_parity(parameter_gradient(mean_square, problem.params, *problem.data, wrt=wrt), want)


def counted(params, x):
    return jnp.sum(params["w"] * x) * params["step"]


def test_a_held_leaf_may_be_an_integer():
    params = {"w": jnp.ones(2), "step": jnp.array(3)}
    got = parameter_gradient(lambda p, x: counted({**p, "step": p["step"].astype(x.dtype)}, x), params, 2.0, wrt="w")
    assert_parity(got, {"w": np.full(2, 6.0), "step": np.array(0)})


def test_a_held_leaf_may_be_a_key():
    params = {"w": jnp.ones(2), "key": jax.random.key(0)}
    got = parameter_gradient(lambda p: jnp.sum(p["w"] * jax.random.normal(p["key"], (2,))), params, wrt="w")
    assert_parity(got["w"], jax.random.normal(jax.random.key(0), (2,)))


def test_a_constant_loss_gives_zeros():
    assert_parity(parameter_gradient(lambda p: 1.0, {"w": jnp.ones(3)}), {"w": np.zeros(3)})
    assert_parity(parameter_gradient(lambda p: jnp.ones(()), {"w": jnp.ones(3)}), {"w": np.zeros(3)})


# which values carry gradient

ONES = np.ones(5)


def copied(a):
    copy = jax.lax.stop_gradient(a)
    return jnp.mean(copy + 10)


def mostly_stopped(a):
    """All but one use of ``a`` is stopped: what torch writes as enable_grad inside no_grad."""
    held = jax.lax.stop_gradient(a)
    return 2 * jnp.mean(a) + jnp.mean(held**2)


def mostly_stopped_torch(a):
    with torch.no_grad():
        rest = (a**2).mean()
        with torch.enable_grad():
            inner = 2 * a.mean()
    return inner + rest


def product_with_itself_stopped(a):
    return jnp.mean(a * jax.lax.stop_gradient(jnp.exp(a)))


def test_a_stopped_copy_gives_zero_to_its_source():
    assert_parity(parameter_gradient(copied, jnp.asarray(ONES)), np.zeros(5))
    assert_parity(parameter_gradient(lambda copy: jnp.mean(copy + 10), jnp.asarray(ONES)), np.full(5, 0.2))


def test_a_constant_carries_no_gradient():
    constant = jnp.asarray(ONES)
    assert_parity(parameter_gradient(lambda a: jnp.mean(a * 3 + constant**2), jnp.asarray(ONES)), np.full(5, 0.6))


def test_a_value_used_inside_a_stopped_region_carries_gradient():
    want = torch_ref.gradient.parameter_gradient(mostly_stopped_torch, torch.tensor(ONES))
    got = parameter_gradient(mostly_stopped, jnp.asarray(ONES))
    assert_parity(got, want)
    assert_parity(got, np.full(5, 0.4))


def test_a_stop_inside_a_larger_computation_cuts_one_factor():
    a = jnp.linspace(-1.0, 1.0, 5)
    assert_parity(parameter_gradient(product_with_itself_stopped, a), np.exp(np.linspace(-1, 1, 5)) / 5)


# transforms of the gradient: foo(W) = sum((W**2) @ x)


def foo(W, x):
    return jnp.sum(W**2 @ x)


def test_gradient_and_its_products_with_ones():
    W, x = jnp.array([[1.5, -0.5]]), jnp.array([-0.25, 2.0])
    gradient, pullback = jax.vjp(lambda W: parameter_gradient(foo, W, x), W)
    _, pushed = jax.jvp(lambda W: parameter_gradient(foo, W, x), (W,), (jnp.ones_like(W),))
    assert_parity(gradient, 2 * W * x[None])
    assert_parity(pullback(jnp.ones_like(W))[0], 2 * x[None])
    assert_parity(pushed, 2 * x[None])


# what is refused


@pytest.mark.parametrize(
    ("loss", "error", "complaint"),
    [
        (
            lambda p: p["w"],
            ValueError,
            r"got float64\[3\]: reduce it with .mean\(\) or .sum\(\), or ask for a Jacobian",
        ),
        (lambda p: p["w"][:1], ValueError, r"got float64\[1\]: drop its axes"),
        (lambda p: (jnp.sum(p["w"]), 1), TypeError, "got a tuple: return the loss alone"),
        (lambda p: None, TypeError, "got None"),
        (lambda p: jnp.argmax(p["w"]), TypeError, r"real floating-point scalar; got int"),
        (lambda p: jnp.sum(p["w"].astype(complex)), TypeError, r"got complex128\[\]"),
    ],
)
def test_rejects_a_loss_that_is_no_real_scalar(loss, error, complaint):
    with pytest.raises(error, match=complaint):
        value_and_grad(loss, {"w": jnp.ones(3)})


@pytest.mark.parametrize(
    ("params", "error", "complaint"),
    [
        ({"w": np.ones(2), "step": 3}, TypeError, r"params\['step'\]: got int"),
        ({"w": np.ones(2), "mask": np.array([True])}, TypeError, r"params\['mask'\]: got bool\[1\]"),
        ({"w": np.ones(2), "key": jax.random.key(0)}, TypeError, r"params\['key'\]: got key<fry>"),
        ({"w": torch.ones(2)}, TypeError, r"params\['w'\] is a torch tensor"),
        ({"w": "text"}, TypeError, r"params\['w'\] is the string 'text'"),
        ({}, ValueError, "params has no differentiable leaves: it is an empty tree"),
    ],
)
def test_rejects_leaves_without_a_derivative(params, error, complaint):
    with pytest.raises(error, match=complaint):
        parameter_gradient(lambda p: jnp.sum(p["w"]), params)


def test_rejects_a_pattern_that_selects_nothing():
    problem = regression()
    with pytest.raises(ValueError, match=r"wrt='\*/kernel' selects no leaf.*the leaves are layer0/bias, layer0/weight"):
        parameter_gradient(mean_square, problem.params, *problem.data, wrt="*/kernel")
