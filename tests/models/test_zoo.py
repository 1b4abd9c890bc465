"""Every network of the zoo, in both APIs of Flax, is the same function as its torch twin, to the second derivative."""

import inspect

import jax
import pytest
import torch

import torch_ref.curvature
import torch_ref.models as twins
from jaxgrad import curvature, models
from jaxgrad.models import linen, nnx
from tests.bridge import assert_parity, random_like
from tests.turns import one_in
from tests.zoo import PAIRS, pair, tensors

# numbers are compared here, not speed
pytestmark = pytest.mark.usefixtures("compiled_quickly")

each = pytest.mark.parametrize(("name", "api"), PAIRS)


@pytest.mark.parametrize(("name", "api"), one_in(2, [pytest.param(*one) for one in PAIRS]))
def test_value_and_gradient_match_torch(name, api):
    it = pair(name, api)
    x, y = it.data_torch

    def loss(params, x, y):
        return it.loss(params, x, y), it.apply_fn(params, x)

    (_, output), got = jax.jit(jax.value_and_grad(loss, has_aux=True))(it.params, *it.data)
    leaves = {key: tensor.clone().requires_grad_() for key, tensor in it.params_torch.items()}
    assert_parity(output, torch.func.functional_call(it.module, leaves, (x,)))
    want = dict(zip(leaves, torch.autograd.grad(it.loss_torch(leaves, x, y), list(leaves.values())), strict=True))
    assert_parity(got, it.mapping.gradients_to_jax(want), dtypes=True)
    assert_parity(it.mapping.gradients_to_torch(got), want, dtypes=True)


@pytest.mark.parametrize(("name", "api"), one_in(5, [pytest.param(*one) for one in PAIRS], 2))
def test_hessian_vector_product_matches_torch(name, api):
    it = pair(name, api)
    vector = random_like(it.params, 1)
    got = curvature.hvp(it.loss, it.params, vector, *it.data)
    moved = tensors(it.mapping.to_torch(vector))
    want = torch_ref.curvature.hvp(it.loss_torch, it.params_torch, moved, *it.data_torch)
    assert_parity(got, it.mapping.gradients_to_jax(want))


@each
def test_weights_cross_and_come_back(name, api):
    it = pair(name, api)
    there = it.mapping.to_torch(it.params)
    assert list(there) == [key for key, _ in it.module.named_parameters()]
    assert all(leaf.flags.c_contiguous for leaf in there.values())
    assert_parity(there, it.params_torch, dtypes=True, tolerance=0)
    assert_parity(it.mapping.to_jax(there), it.params, dtypes=True, tolerance=0)


@each
def test_names_alone_pair_the_layers(name, api):
    assert pair(name, api).mapping.guessed == ()


def test_the_three_tables_name_the_same_networks():
    assert linen.__all__ == nnx.__all__ == twins.__all__
    for name in twins.__all__:
        wanted = inspect.signature(getattr(twins, name).__init__).parameters
        assert list(inspect.signature(getattr(nnx, name).__init__).parameters)[: len(wanted)] == list(wanted)


@pytest.mark.parametrize("name", ["linen", "nnx"])
def test_networks_are_documented(name):
    module = getattr(models, name)
    assert all(getattr(module, network).__doc__ for network in module.__all__)
