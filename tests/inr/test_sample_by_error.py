"""`inr.sample_by_error`: unbiased means, strata, limits of the weights, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import torch_ref.inr
from jaxgrad.inr import sample_by_error
from tests.bridge import assert_parity, to_torch

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

KEY = jax.random.key(0)
ERRORS = np.array([0.5, 0.0, 2.0, 0.1, 4.0, 0.0, 1.4])
OTHERS = np.random.default_rng(0).normal(size=7)


@pytest.mark.parametrize("uniform", [0.0, 0.3])
def test_the_weighted_mean_is_that_of_the_pool(uniform):
    """Over 4,000 draws of 3 points, within 4.5 standard errors; by errors alone, of what is 0 where these are."""
    values = OTHERS * (ERRORS > 0) if uniform == 0 else OTHERS
    keys = jax.random.split(KEY, 4000)
    indices, weights = jax.jit(jax.vmap(lambda k: sample_by_error(k, jnp.asarray(ERRORS), 3, uniform=uniform)))(keys)
    means = (np.asarray(weights) * values[np.asarray(indices)]).mean(-1)
    assert abs(means.mean() - values.mean()) <= 4.5 * means.std() / np.sqrt(4000)
    # and points are met in proportion to their chances
    chances = (1 - uniform) * ERRORS / ERRORS.sum() + uniform / 7
    np.testing.assert_allclose(np.bincount(np.asarray(indices).ravel(), minlength=7) / 12000, chances, atol=0.02)
    if uniform == 0:
        assert not np.isin(indices, [1, 5]).any()


@pytest.mark.parametrize("uniform", [0.0, 0.3])
def test_the_weights_are_those_of_torch(uniform):
    """Weights belong to points: whatever was drawn, the twin's weight of the same point is the same."""
    indices, weights = sample_by_error(KEY, jnp.asarray(ERRORS), 40, uniform=uniform)
    drawn, theirs = torch_ref.inr.sample_by_error(0, to_torch(ERRORS), 40, uniform=uniform)
    known = dict(zip(drawn.tolist(), theirs.tolist(), strict=True))
    both = [i for i in range(40) if int(indices[i]) in known]
    assert len(both) > 30
    assert_parity(weights[jnp.asarray(both)], np.array([known[int(indices[i])] for i in both]))
    # each of the 40 strata gives one: the counts of any two draws differ by two at the most
    counts, others = (np.bincount(np.asarray(i), minlength=7) for i in (indices, drawn))
    assert np.abs(counts - others).max() <= 2


def test_the_twin_stays_on_the_device_of_the_errors():
    """Whatever torch's default is; the numbers are drawn on the CPU."""
    want = torch_ref.inr.sample_by_error(0, to_torch(ERRORS), 5, uniform=0.3)
    given = to_torch(ERRORS), torch.zeros(7)
    with torch.device("meta"):
        found = torch_ref.inr.sample_by_error(0, given[0], 5, uniform=0.3)
        # chances of no errors are no tensors
        none = torch_ref.inr.sample_by_error(0, given[1], 7)
    assert all(torch.equal(one, other) for one, other in zip(found, want, strict=True))
    assert [tensor.device.type for tensor in none] == ["cpu", "cpu"]


def test_the_mean_of_the_errors_themselves_is_exact():
    indices, weights = sample_by_error(KEY, jnp.asarray(ERRORS), 5)
    assert_parity(jnp.mean(weights * jnp.asarray(ERRORS)[indices]), ERRORS.mean())


def test_no_errors_count_all_points_the_same():
    indices, weights = sample_by_error(KEY, jnp.zeros(6), 6)
    assert indices.tolist() == [0, 1, 2, 3, 4, 5]
    assert_parity(weights, np.ones(6))


def test_a_uniform_share_bounds_the_weights():
    _, weights = sample_by_error(KEY, jnp.asarray([1e6, *[0.0] * 99]), 2000, uniform=0.25)
    assert weights.max() <= 1 / 0.25 + 1e-12


def test_large_and_small_errors_stay_in_range():
    for scale in (1e-36, 1e37):
        indices, weights = sample_by_error(KEY, jnp.asarray(ERRORS, jnp.float32) * jnp.float32(scale), 64)
        assert np.isfinite(weights).all()
        assert not np.isin(indices, [1, 5]).any()


def test_points_of_no_error_at_the_end_are_never_drawn():
    errors = jnp.concatenate([jnp.ones(1000, jnp.float32), jnp.zeros(1000, jnp.float32)])
    indices, weights = sample_by_error(KEY, errors, 200_000)
    assert indices.max() == 999
    assert np.isfinite(weights).all()


@pytest.mark.parametrize("wrong", [jnp.nan, jnp.inf, -1.0, -jnp.inf])
def test_what_is_no_error_shows(wrong):
    for options in ({}, {"uniform": 0.5}):
        _, weights = sample_by_error(KEY, jnp.asarray([1.0, wrong, 3.0]), 4, **options)
        assert np.isnan(weights).all()


def test_nothing_is_differentiated_through_the_draw():
    slope = jax.grad(lambda e: jnp.sum(sample_by_error(KEY, e, 4)[1]))(jnp.asarray(ERRORS))
    assert not np.asarray(slope).any()


@pytest.mark.parametrize(
    ("errors", "count", "options", "error", "words"),
    [
        (np.ones(3), 0, {}, ValueError, "count must be at least 1; got 0"),
        (np.ones(3), 1.5, {}, TypeError, "count must be a Python integer"),
        (np.ones((3, 1)), 2, {}, ValueError, r"errors must have shape \(N,\).*got float64\[3,1\]"),
        (np.ones(0), 2, {}, ValueError, r"errors must have shape \(N,\).*got float64\[0\]"),
        (np.ones(3, int), 2, {}, TypeError, r"errors must .*floating-point"),
        ([1.0, 2.0], 2, {}, TypeError, r"errors must be one array; got a list: write jnp\.asarray\(errors\)"),
        (np.ones(3), 2, {"uniform": 1.5}, ValueError, r"uniform must be a share from 0 to 1; got 1\.5"),
        (np.ones(3), 2, {"uniform": -0.5}, ValueError, "uniform must be a share from 0 to 1; got -0.5"),
    ],
)
def test_refuses(errors, count, options, error, words):
    with pytest.raises(error, match=words):
        sample_by_error(KEY, errors, count, **options)


def test_a_traced_count_is_refused():
    with pytest.raises(TypeError, match="count must be known when the function is traced"):
        jax.jit(lambda n: sample_by_error(KEY, jnp.ones(3), n))(4)
