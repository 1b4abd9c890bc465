"""Preferences that mean nothing are refused, or NaN where they are traced; those that mean something are kept."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad import multi_loss
from jaxgrad.verify._bridge import to_torch
from tests.multi_loss.gram_rules import ROWS

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

J = ROWS["in conflict"]
GRAM = J @ J.T
LOSSES = np.array([0.7, 2.1, 1.3])


def of_sdmgrad(preferences):
    made = multi_loss.sdmgrad(preferences=preferences)
    return made.update(GRAM, made.init(3))[0]


RULES = {
    "constant_weights": lambda p: multi_loss.constant_weights(GRAM, preferences=p),
    "aligned_mtl": lambda p: multi_loss.aligned_mtl(GRAM, preferences=p),
    "dual_projection": lambda p: multi_loss.dual_projection(GRAM, preferences=p),
    "upgrad": lambda p: multi_loss.upgrad(GRAM, preferences=p),
    "config": lambda p: multi_loss.config(GRAM, preferences=p),
    "sdmgrad": of_sdmgrad,
    "stch": lambda w: multi_loss.stch(LOSSES, mu=0.5, weights=w),
    "pbi": lambda w: multi_loss.pbi(LOSSES, weights=w, penalty=1.0),
    "cosmos": lambda w: multi_loss.cosmos(LOSSES, weights=w, penalty=1.0),
}
LINEAR = ["constant_weights", "aligned_mtl", "dual_projection"]
WRONG = {
    "a NaN": ([1.0, math.nan, 0.5], "must be finite numbers; got", ()),
    "an infinity": ([1.0, math.inf, 0.5], "must be finite numbers; got", ()),
    "a negative one": ([1.0, -2.0, 0.5], "must not be negative: for a loss that shall rise", LINEAR),
    "zeros": ([0.0, 0.0, 0.0], "must not all be zero: no loss would count", [*LINEAR, "upgrad"]),
}
CASES = [(name, wrong) for name in RULES for wrong, (_, _, meant) in WRONG.items() if name not in meant]


@pytest.mark.parametrize(("name", "wrong"), CASES)
def test_numbers_of_python_or_numpy_are_refused(name, wrong):
    given, words, _ = WRONG[wrong]
    for value in (given, np.array(given), [np.float32(one) for one in given]):
        with pytest.raises(ValueError, match=words):
            RULES[name](value)
        with pytest.raises(ValueError, match=words):
            jax.jit(lambda x, value=value: RULES[name](value) + x)(0.0)


@pytest.mark.parametrize("name", RULES)
def test_traced_ones_give_nan(name):
    program = jax.jit(RULES[name])
    assert np.isfinite(program(jnp.array([1.0, 0.0, 0.5]))).all()
    for wrong, (given, _, _) in WRONG.items():
        if (name, wrong) in CASES and name != "constant_weights":
            assert np.isnan(program(jnp.array(given))).all(), wrong
    if name == "constant_weights":
        np.testing.assert_array_equal(program(jnp.array([1.0, math.nan, 0.5])), [1.0, math.nan, 0.5])


@pytest.mark.parametrize("name", ["stch", "pbi", "cosmos"])
def test_the_gradient_of_joined_losses_is_nan_with_the_value(name):
    """A NaN put in by a `where` alone would have the gradient zero, and training would stop without a word."""
    options = {"stch": {"mu": 0.5}, "pbi": {"penalty": 1.0}, "cosmos": {"penalty": 1.0}}[name]
    slope = jax.jit(jax.grad(functools.partial(getattr(multi_loss, name), **options)))
    assert np.isfinite(slope(LOSSES, weights=jnp.ones(3))).all()
    assert np.isnan(slope(LOSSES, weights=jnp.array([1.0, -1.0, 1.0]))).all()


def test_names_of_losses_are_looked_through():
    losses = {"a": jnp.asarray(1.0), "b": jnp.asarray(2.0)}
    with pytest.raises(ValueError, match="weights must not be negative"):
        multi_loss.stch(losses, mu=1.0, weights={"a": 1.0, "b": -1.0})
    assert np.isfinite(multi_loss.stch(losses, mu=1.0, weights={"a": 1.0, "b": jnp.asarray(0.0)}))


@pytest.mark.parametrize("name", ["constant_weights", "aligned_mtl"])
def test_a_negative_one_is_a_positive_one_of_the_loss_times_minus_one(name):
    preferences, signs = np.array([0.5, -1.5, 0.25]), np.array([1.0, -1.0, 1.0])
    rule = getattr(multi_loss, name)
    turned = J * signs[:, None]
    want = rule(turned @ turned.T, preferences=preferences * signs) @ turned
    np.testing.assert_allclose(rule(GRAM, preferences=preferences) @ J, want, rtol=1e-9)


@pytest.mark.parametrize("name", [*LINEAR, "upgrad"])
def test_zeros_ask_for_nothing(name):
    np.testing.assert_array_equal(RULES[name](np.zeros(3)), 0)


def test_dual_projection_projects_any_sum():
    """The conditions of the nearest point of the cone, whatever the sign of what is projected."""
    preferences = np.array([0.5, -1.5, 0.25])
    weights = np.asarray(multi_loss.dual_projection(GRAM, preferences=preferences))
    slopes = GRAM @ weights
    assert (weights >= preferences - 1e-12).all()
    assert slopes.min() >= -1e-10
    np.testing.assert_allclose(slopes[weights > preferences + 1e-9], 0, atol=1e-10)


def test_where_torchjd_takes_a_negative_one():
    """The projection of a sum agrees; UPGrad's is another there, and ConFIG's vector is turned round."""
    torchjd, linalg = pytest.importorskip("torchjd.aggregation"), pytest.importorskip("torchjd.linalg")
    plain = linalg.QuadprogProjector(norm_eps=0.0, reg_eps=0.0)
    preferences = np.array([0.5, -1.5, 0.25])
    theirs = torchjd.DualProjWeighting(to_torch(preferences), projector=plain)(to_torch(GRAM)).numpy()
    np.testing.assert_allclose(multi_loss.dual_projection(GRAM, preferences=preferences), theirs, atol=1e-9)
    aligned = torchjd.AlignedMTLWeighting(to_torch(preferences))(to_torch(GRAM)).numpy()
    np.testing.assert_allclose(multi_loss.aligned_mtl(GRAM, preferences=preferences), aligned, atol=1e-9)
    upgrad = torchjd.UPGradWeighting(to_torch(preferences), projector=plain)(to_torch(GRAM)).numpy()
    each = np.stack([multi_loss.upgrad(GRAM, preferences=one) for one in np.eye(3)])
    assert np.abs(upgrad - preferences @ each).max() > 0.1
    assert (GRAM @ (preferences @ each)).min() < -0.1  # the sum of projections leaves the cone
    vector = torchjd.ConFIG(to_torch(np.array([1.0, -3.0, 1.0])))(to_torch(np.eye(3))).numpy()
    assert np.sign(vector).tolist() == [-1.0, 1.0, -1.0]
