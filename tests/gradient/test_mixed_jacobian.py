"""`gradient.mixed_jacobian` and `mixed_product`: parity, closed form, their relation, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.gradient
from jaxgrad.gradient import mixed_jacobian, mixed_product
from tests.bridge import assert_parity, random_like, to_torch
from tests.laws import assert_linear
from tests.problems import mean_square, mean_square_torch, regression

pytestmark = pytest.mark.usefixtures("compiled_quickly")


@pytest.mark.parametrize("mode", [None, "forward", "reverse"])
def test_jacobian_matches_torch(mode):
    problem = regression(sizes=(3, 4, 2), batch=2)
    got = mixed_jacobian(mean_square, problem.params, *problem.data, mode=mode)
    want = torch_ref.gradient.mixed_jacobian(mean_square_torch, problem.params_torch, *problem.data_torch)
    assert_parity(got, want, dtypes=True)


@pytest.mark.parametrize("mode", ["forward-over-reverse", "reverse-over-reverse"])
def test_product_matches_torch(mode):
    problem = regression()
    vector = random_like(problem.params, 1)
    got = mixed_product(mean_square, problem.params, vector, *problem.data, mode=mode)
    want = torch_ref.gradient.mixed_product(
        mean_square_torch, problem.params_torch, to_torch(vector), *problem.data_torch
    )
    assert_parity(got, want, dtypes=True)


def bilinear(params, x):
    return params["w"] @ x["u"] ** 2 + params["b"] * jnp.sum(x["v"])


PARAMS = {"w": jnp.array([1.0, 2.0]), "b": jnp.array(5.0)}
X = {"u": jnp.array([1.0, 3.0]), "v": jnp.asarray(np.ones(3))}


def test_closed_form_with_a_tree_for_input():
    want = {
        "w": {"u": np.diag([2.0, 6.0]), "v": np.zeros((2, 3))},
        "b": {"u": np.zeros(2), "v": np.ones(3)},
    }
    for mode in (None, "forward", "reverse"):
        assert_parity(mixed_jacobian(bilinear, PARAMS, X, mode=mode), want)
    zero_b = {"w": want["w"], "b": jax.tree.map(np.zeros_like, want["b"])}
    assert_parity(mixed_jacobian(bilinear, PARAMS, X, wrt="w"), zero_b)


def test_product_contracts_the_jacobian():
    problem = regression(sizes=(3, 4, 2), batch=2)
    vector = random_like(problem.params, 1)
    rows = mixed_jacobian(mean_square, problem.params, *problem.data, wrt="*/weight")
    contracted = jax.tree.map(lambda v, row: jnp.tensordot(v, row, v.ndim), vector, rows)
    product = mixed_product(mean_square, problem.params, vector, *problem.data, wrt="*/weight")
    assert_parity(product, sum(jax.tree.leaves(contracted)))


def test_product_is_linear():
    problem = regression()
    assert_linear(lambda v: mixed_product(mean_square, problem.params, v, *problem.data), problem.params)


def test_rejects_what_does_not_fit():
    problem = regression()
    with pytest.raises(ValueError, match="mode must be one of 'forward', 'reverse'; got 'both'"):
        mixed_jacobian(mean_square, problem.params, *problem.data, mode="both")
    with pytest.raises(ValueError, match="mode must be one of 'forward-over-reverse'"):
        mixed_product(mean_square, problem.params, problem.params, *problem.data, mode="forward")
    with pytest.raises(ValueError, match=r"71 numbers with respect to 21 take 11,928 bytes, more than max_bytes=1,000"):
        mixed_jacobian(mean_square, problem.params, *problem.data, max_bytes=1000)
    with pytest.raises(ValueError, match=r"(?s)vector must have the structure.*layer0.*got nothing"):
        mixed_product(mean_square, problem.params, {}, *problem.data)
    with pytest.raises(TypeError, match=r"x\['v'\]: got int"):
        mixed_product(bilinear, PARAMS, PARAMS, {**X, "v": jnp.arange(3)})
