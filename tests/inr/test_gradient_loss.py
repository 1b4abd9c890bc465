"""`inr.gradient_loss` against torch, its gradient too; it sees no constant; what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

import torch_ref.inr
from jaxgrad.inr import coordinate_derivatives, gradient_loss
from tests.bridge import assert_parity, to_torch
from tests.inr.fields import field, siren_jax, siren_torch

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


def test_value_and_gradient_match_torch():
    case = field()
    wanted = jnp.asarray(np.sin(np.arange(42.0)).reshape(7, 3, 2), jnp.float64)
    got = jax.jit(jax.value_and_grad(lambda p, x: gradient_loss(siren_jax, p, x, wanted)))(case.params, case.points)
    leaves, structure = pytree.tree_flatten(case.params_torch)
    leaves = [leaf.requires_grad_() for leaf in leaves]
    params = pytree.tree_unflatten(leaves, structure)
    loss = torch_ref.inr.gradient_loss(siren_torch, params, case.points_torch, to_torch(wanted))
    gradient = torch.autograd.grad(loss, leaves, materialize_grads=True)
    assert_parity(got, (loss, pytree.tree_unflatten(gradient, structure)))


def test_is_the_mean_square_of_the_difference():
    case = field()
    found = coordinate_derivatives(siren_jax, case.params, case.points).jacobian
    assert_parity(gradient_loss(siren_jax, case.params, case.points, found + 0.5), 0.25)


def test_does_not_see_a_constant():
    case = field()
    moved = {**case.params, "layer2": {**case.params["layer2"], "bias": case.params["layer2"]["bias"] + 3}}
    wanted = jnp.ones((7, 3, 2))
    losses = [gradient_loss(siren_jax, params, case.points, wanted) for params in (case.params, moved)]
    assert losses[0] == losses[1]


def test_refuses_gradients_of_another_layout():
    case = field()
    with pytest.raises(ValueError, match=r"gradients: got float64\[7,2,3\], expected float64\[7,3,2\]"):
        gradient_loss(siren_jax, case.params, case.points, jnp.ones((7, 2, 3)))
