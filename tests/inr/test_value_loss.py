"""`inr.value_loss` against torch, its gradient too, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

import torch_ref.inr
from jaxgrad.inr import value_loss
from tests.bridge import assert_parity, to_torch
from tests.inr.fields import field, siren_jax, siren_torch

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


def test_value_and_gradient_match_torch():
    case = field()
    wanted = jnp.asarray(np.sin(np.arange(21.0)).reshape(7, 3), jnp.float64)
    got = jax.jit(jax.value_and_grad(lambda p, x: value_loss(siren_jax, p, x, wanted)))(case.params, case.points)
    leaves, structure = pytree.tree_flatten(case.params_torch)
    leaves = [leaf.requires_grad_() for leaf in leaves]
    params = pytree.tree_unflatten(leaves, structure)
    loss = torch_ref.inr.value_loss(siren_torch, params, case.points_torch, to_torch(wanted))
    assert_parity(got, (loss, pytree.tree_unflatten(torch.autograd.grad(loss, leaves), structure)))


def test_is_zero_at_the_field_itself():
    case = field()
    assert value_loss(siren_jax, case.params, case.points, siren_jax(case.params, case.points)) <= 1e-30


@pytest.mark.parametrize(
    ("fun", "values"),
    [
        (lambda a, p: p.sum(-1), np.ones(4)),
        (lambda a, p: p[:1], np.ones((1, 2))),
        (lambda a, p: p.sum(), np.ones(())),
        (lambda a, p: 1.0, np.ones(())),
        (lambda a, p: (p, p), (np.ones((4, 2)), np.ones((4, 2)))),
    ],
)
def test_refuses_a_field_that_is_none(fun, values):
    """As every other loss does, targets of the same shape or not."""
    with pytest.raises(ValueError, match=r"field_fn must return one array of shape \(4,channels\) for float64\[4,2\]"):
        value_loss(fun, {"a": 1.0}, np.ones((4, 2)), values)


def test_a_field_may_be_a_constant():
    constant = np.full((4, 1), 3.0)
    assert value_loss(lambda a, p: constant, {"a": 1.0}, jnp.ones((4, 2)), jnp.ones((4, 1))) == 4.0


def test_refuses_values_of_another_shape():
    case = field()
    with pytest.raises(ValueError, match=r"(?s)values must have.*values: got float64\[7\], expected float64\[7,3\]"):
        value_loss(siren_jax, case.params, case.points, jnp.ones(7))
