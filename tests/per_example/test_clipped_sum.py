"""`per_example.clipped_sum` against a loop, at the median norm and at its edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.per_example
from jaxgrad.per_example import clipped_sum, gradients, norms
from tests.bridge import assert_parity
from tests.problems import mean_square, mean_square_torch, regression


def test_matches_torch_at_the_median_norm():
    problem = regression()
    median = float(jnp.median(norms(mean_square, problem.params, *problem.data)))
    got = clipped_sum(mean_square, problem.params, *problem.data, clip_norm=median * 1.001)
    want = torch_ref.per_example.clipped_sum(
        mean_square_torch, problem.params_torch, *problem.data_torch, clip_norm=median * 1.001
    )
    assert_parity(got[0], want[0])
    assert_parity(got[1]._asdict(), want[1]._asdict())
    assert 0 < got[1].fraction_clipped < 1


def test_an_infinite_norm_clips_nothing():
    problem = regression()
    rows = gradients(mean_square, problem.params, *problem.data)
    total, info = clipped_sum(mean_square, problem.params, *problem.data, clip_norm=np.inf)
    assert_parity(total, jax.tree.map(lambda g: g.sum(0), rows))
    assert info.fraction_clipped == 0


def test_a_zero_norm_gives_zeros():
    problem = regression()
    total, _ = clipped_sum(mean_square, problem.params, *problem.data, clip_norm=0.0)
    assert_parity(total, jax.tree.map(jnp.zeros_like, problem.params))


def test_at_the_norm_itself_nothing_is_scaled():
    def loss(params, x):
        return params["w"] @ x

    total, info = clipped_sum(loss, {"w": jnp.ones(2)}, jnp.array([[3.0, 4.0]]), clip_norm=5.0)
    assert total["w"].tolist() == [3.0, 4.0]
    assert info.fraction_clipped == 0


def test_rejects_a_negative_norm():
    problem = regression()
    with pytest.raises(ValueError, match="clip_norm must not be negative"):
        clipped_sum(mean_square, problem.params, *problem.data, clip_norm=-1.0)
