"""`gradient.jacobian` and `hessian` against torch.func, closed forms, chosen leaves, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.gradient
from jaxgrad.gradient import hessian, jacobian
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_torch
from tests.bridge import assert_parity
from tests.problems import mean_square, regression

pytestmark = pytest.mark.usefixtures("compiled_quickly")

MODES = ("reverse", "forward")


@pytest.mark.parametrize("mode", MODES)
def test_jacobian_matches_torch(mode):
    problem = regression(sizes=(3, 4, 2), batch=3)
    got = jacobian(mlp_jax, problem.params, problem.data[0], mode=mode)
    want = torch_ref.gradient.jacobian(mlp_torch, problem.params_torch, problem.data_torch[0], mode=mode)
    assert_parity(got, want, dtypes=True)


def test_hessian_matches_torch():
    problem = regression(sizes=(3, 4, 2), batch=3)
    got = hessian(mlp_jax, problem.params, problem.data[0])
    want = torch_ref.gradient.hessian(mlp_torch, problem.params_torch, problem.data_torch[0])
    assert_parity(got, want, dtypes=True)


def several(params):
    a, b = params["a"], params["b"]
    return {"product": a * b, "squares": (jnp.stack([a, b]) ** 2, 1.0)}


PARAMS = {"a": jnp.array(2.0), "b": jnp.array(5.0)}


@pytest.mark.parametrize("mode", MODES)
def test_result_may_be_a_tree(mode):
    want = {
        "product": {"a": 5.0, "b": 2.0},
        "squares": ({"a": np.array([4.0, 0]), "b": np.array([0.0, 10])}, {"a": 0.0, "b": 0.0}),
    }
    assert_parity(jacobian(several, PARAMS, mode=mode), want)
    second = hessian(several, PARAMS)
    assert_parity(second["product"], {"a": {"a": 0.0, "b": 1.0}, "b": {"a": 1.0, "b": 0.0}})
    assert_parity(second["squares"][0]["b"]["b"], np.array([0.0, 2.0]))


@pytest.mark.parametrize("mode", MODES)
def test_wrt_leaves_zeros_in_the_other_columns(mode):
    problem = regression(sizes=(3, 4, 2), batch=3)
    x = problem.data[0]
    full = jacobian(mlp_jax, problem.params, x)
    want = {k: {"weight": v["weight"], "bias": jnp.zeros_like(v["bias"])} for k, v in full.items()}
    assert_parity(jacobian(mlp_jax, problem.params, x, mode=mode, wrt="*/weight"), want)


def test_wrt_leaves_zeros_in_the_other_blocks():
    problem = regression(sizes=(3, 4, 2), batch=3)
    full, block = (hessian(mlp_jax, problem.params, problem.data[0], wrt=wrt) for wrt in (None, "layer0/weight"))
    want = jax.tree.map(np.zeros_like, full)
    want["layer0"]["weight"]["layer0"]["weight"] = full["layer0"]["weight"]["layer0"]["weight"]
    assert_parity(block, want)


def test_a_held_leaf_may_be_an_integer():
    params = {"w": jnp.ones(2), "step": jnp.array([1, 2, 3])}
    rows = jacobian(lambda p: p["w"] ** 2, params, wrt="w")
    assert_parity(rows, {"w": 2 * np.eye(2), "step": np.zeros((2, 3))})


def test_jacobian_of_a_loss_is_its_gradient():
    problem = regression()
    want = jax.jit(jax.grad(mean_square))(problem.params, *problem.data)
    for mode in MODES:
        assert_parity(jacobian(mean_square, problem.params, *problem.data, mode=mode), want)


def test_rejects_what_does_not_fit():
    problem = regression()
    x = problem.data[0]
    with pytest.raises(ValueError, match="mode must be one of 'forward', 'reverse'; got 'both'"):
        jacobian(mlp_jax, problem.params, x, mode="both")
    with pytest.raises(TypeError, match=r"the result of fun\['n'\]: got int"):
        jacobian(lambda p: {"n": jnp.argmax(p), "y": p}, jnp.ones(2))
    with pytest.raises(ValueError, match="14 numbers with respect to 71 take 7,952 bytes, more than max_bytes=100"):
        jacobian(mlp_jax, problem.params, x, max_bytes=100)
    with pytest.raises(
        ValueError, match=r"994 numbers with respect to 71 take 564,592 bytes, more than max_bytes=8,000"
    ):
        hessian(mlp_jax, problem.params, x, max_bytes=8000)
