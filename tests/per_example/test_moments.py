"""`per_example.moments` against stacked gradients, in chunks and on positions."""

import jax
import numpy as np
import pytest

import torch_ref.per_example
from jaxgrad.per_example import gradients, moments
from tests.bridge import assert_parity
from tests.per_example.zoo import ZOO
from tests.problems import mean_square, mean_square_torch, regression

pytestmark = pytest.mark.usefixtures("compiled_quickly")


@pytest.mark.parametrize("microbatch", [None, 3])
def test_matches_torch(microbatch):
    problem = regression()
    got = moments(mean_square, problem.params, *problem.data, microbatch=microbatch)
    want = torch_ref.per_example.moments(mean_square_torch, problem.params_torch, *problem.data_torch)
    for ours, theirs in zip(got, want, strict=True):
        assert_parity(ours, theirs)


@pytest.mark.parametrize("name", ["lookups", "stack", "experts"])
def test_matches_formed_gradients(name):
    model = ZOO[name]()
    rows = jax.tree.map(np.asarray, gradients(model.loss, model.params, *model.batch))
    got = moments(model.loss, model.params, *model.batch, mode="book-keeping")
    assert_parity(got.second_moment, jax.tree.map(lambda g: (g**2).mean(0), rows))
    assert_parity(got.variance, jax.tree.map(lambda g: g.var(0), rows), tolerance=1e-9)
