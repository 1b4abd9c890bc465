"""`shift.score_function_gradient` against a torch loop over the same shifts, and what its baselines do."""

import functools

import jax
import jax.numpy as jnp
import pytest

import torch_ref.shift
from jaxgrad.shift import score_function_gradient
from tests.bridge import assert_parity, random_like, to_torch
from tests.problems import mean_square, mean_square_torch, regression

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


@pytest.mark.parametrize("baseline", ["leave-one-out", "clean", "none"])
def test_matches_torch_at_the_same_shifts(baseline):
    problem = regression((3, 4, 2))
    shifts = random_like(jax.tree.map(lambda leaf: jnp.zeros((3, *leaf.shape)), problem.params), 1)
    options = {"scale": 0.7, "baseline": baseline, "full_output": True}
    got = score_function_gradient(mean_square, problem.params, shifts, *problem.data, **options)
    want = torch_ref.shift.score_function_gradient(
        mean_square_torch, problem.params_torch, to_torch(shifts), *problem.data_torch, **options
    )
    for ours, theirs in zip(got, want, strict=True):
        assert_parity(ours, theirs)


def steps(w):
    """A loss without a derivative: how many of the entries are above 0.3, far from zero."""
    return 100.0 + jnp.sum(w > 0.3).astype(w.dtype)


def test_estimates_the_slope_of_a_smoothed_step_and_the_baseline_takes_the_variance_away():
    """The probability that w + s z passes 0.3 has the normal density as slope; within five standard errors."""
    w, scale = jnp.array([0.2, 0.5]), 0.5
    shifts = scale * random_like(jnp.zeros((4000, 2)), 1)
    call = functools.partial(score_function_gradient, steps, w, shifts, scale=scale, chunk=4000, full_output=True)
    found = {baseline: call(baseline=baseline) for baseline in ("leave-one-out", "none")}
    slope = jax.scipy.stats.norm.pdf(w, 0.3, scale)
    for estimate in found.values():
        assert jnp.max(jnp.abs(estimate.gradient - slope) / estimate.standard_error) < 5
    best, plain = found["leave-one-out"].standard_error, found["none"].standard_error
    assert jnp.max(best) < 0.02 * jnp.min(plain)


def test_rejects_what_it_cannot_use():
    w = jnp.ones(2)
    with pytest.raises(ValueError, match="baseline must be one of 'leave-one-out', 'clean', 'none'"):
        score_function_gradient(jnp.sum, w, w[None], scale=1.0, baseline="mean")
    with pytest.raises(ValueError, match="asks for two shifts or more; got 1"):
        score_function_gradient(jnp.sum, w, w[None], scale=1.0)
    with pytest.raises(ValueError, match="two shifts or more; got 1"):
        score_function_gradient(jnp.sum, w, w[None], scale=1.0, baseline="none", full_output=True)
    with pytest.raises(ValueError, match="scale must not be negative"):
        score_function_gradient(jnp.sum, w, w[None], scale=-1.0)
