"""`per_example.weighted_sum` against a loop."""

import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.per_example
from jaxgrad.per_example import weighted_sum
from tests.bridge import assert_parity, to_torch
from tests.problems import mean_square, mean_square_torch, regression

pytestmark = pytest.mark.usefixtures("compiled_quickly")

WEIGHTS = jnp.asarray(np.linspace(-1.0, 2.0, 7))


def test_matches_torch():
    problem = regression()
    got = weighted_sum(mean_square, problem.params, *problem.data, weights=WEIGHTS)
    want = torch_ref.per_example.weighted_sum(
        mean_square_torch, problem.params_torch, *problem.data_torch, weights=to_torch(WEIGHTS)
    )
    assert_parity(got, want)


def test_takes_a_list_of_weights():
    problem = regression()
    got = weighted_sum(mean_square, problem.params, *problem.data, weights=WEIGHTS.tolist())
    assert_parity(got, weighted_sum(mean_square, problem.params, *problem.data, weights=WEIGHTS))


def test_rejects_weights_of_another_length():
    problem = regression()
    with pytest.raises(ValueError, match=r"weights must have the shape \(7,\)"):
        weighted_sum(mean_square, problem.params, *problem.data, weights=WEIGHTS[:3])
