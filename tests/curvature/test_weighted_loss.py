"""`curvature.weighted_loss` against torch, by which function it is known, and what it refuses."""

import functools

import jax
import jax.numpy as jnp
import pytest
import torch

import torch_ref.curvature
from jaxgrad.curvature import hvp, over_dataset, stack_batches, weighted_loss
from tests.bridge import assert_parity
from tests.curvature.data_set import HESSIAN, PARAMS, PROBLEM, VECTOR, X, Y
from tests.problems import mean_square, mean_square_torch


def test_matches_torch(compiled_quickly):
    weights = torch.arange(11.0, dtype=torch.float64)
    want = torch_ref.curvature.weighted_loss(mean_square_torch)(PROBLEM.params_torch, *PROBLEM.data_torch, weights)
    assert_parity(weighted_loss(mean_square)(PARAMS, X, Y, jnp.arange(11.0)), want)


def test_a_loss_of_one_example_is_known_by_itself(compiled_quickly):
    assert_parity(weighted_loss(mean_square)(PARAMS, X, Y, jnp.ones(11)), 11 * mean_square(PARAMS, X, Y))
    batches, weights = stack_batches((X, Y), 4)
    first = over_dataset(functools.partial(hvp, weighted_loss(mean_square)), PARAMS, VECTOR, batches, weights)
    with jax.no_tracing(True):
        again = over_dataset(functools.partial(hvp, weighted_loss(mean_square)), PARAMS, VECTOR, batches, weights)
    assert_parity(again, first, tolerance=0.0)


def test_refuses_an_aux_and_other_weights():
    with pytest.raises(TypeError, match="an aux has no place in a sum"):
        hvp(weighted_loss(lambda p, x: (jnp.sum(x), x)), PARAMS, VECTOR, X, jnp.ones(11))
    with pytest.raises(ValueError, match=r"weights of the examples, of shape \[11\]; got float64\[4\]"):
        HESSIAN(PARAMS, VECTOR, X, Y, jnp.ones(4))
    with pytest.raises(TypeError, match="loss_fn must be a function"):
        weighted_loss(PARAMS)
