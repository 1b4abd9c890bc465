"""`multi_loss.aggregate` against torch and against `aggregated_gradient`: trees, states, far scales, sick rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.multi_loss
from jaxgrad.multi_loss import aggregate, aggregated_gradient, gradients, trimmed_mean, upgrad
from jaxgrad.verify._bridge import to_torch
from tests.bridge import assert_parity
from tests.multi_loss.heads import heads, outputs
from tests.multi_loss.rules import drifting, mean, to_unit_norms, to_unit_norms_torch

pytestmark = pytest.mark.usefixtures("compiled_quickly")

RNG = np.random.default_rng(5)
ROWS = {"a": RNG.normal(size=(3, 2, 4)), "b": [RNG.normal(size=3), RNG.normal(size=(3, 5)) - 0.5]}
DRIFTING = drifting(0.25)


def test_matches_torch():
    want = torch_ref.multi_loss.aggregate(to_torch(ROWS), weighting=to_unit_norms_torch)
    assert_parity(aggregate(ROWS, weighting=to_unit_norms), want)


def test_is_what_aggregated_gradient_makes_of_the_losses():
    problem = heads()
    rows = gradients(outputs, problem.params, problem.x)
    options = {"weighting": DRIFTING, "state": DRIFTING.init(2), "full_output": True}
    found, want = aggregate(rows, **options), aggregated_gradient(outputs, problem.params, problem.x, **options)
    assert found.losses is None
    assert_parity(found._replace(losses=()), want._replace(losses=()))


def test_options_are_traced():
    aggregate(ROWS, weighting=to_unit_norms, options={"power": 0.5})
    with jax.no_tracing(True):
        got = aggregate(ROWS, weighting=to_unit_norms, options={"power": 0.0})
    assert_parity(got, jax.tree.map(lambda leaf: leaf.sum(0), ROWS))


@pytest.mark.parametrize("scale", [1e25, 1e-25])
def test_squares_out_of_range_are_given_in_another_unit(scale):
    narrow = jax.tree.map(lambda leaf: (leaf * scale).astype(np.float32), ROWS)
    got = jax.tree.map(lambda leaf: np.asarray(leaf, float) / scale, aggregate(narrow, weighting=upgrad))
    assert_parity(got, aggregate(ROWS, weighting=upgrad), tolerance=1e-5)


def test_narrow_rows_are_added_up_in_float32():
    rows = {"w": jnp.ones((300, 4), jnp.bfloat16)}
    found = aggregate(rows, weighting=mean, full_output=True)
    assert (found.gradient["w"].dtype, found.gram.dtype) == (jnp.bfloat16, jnp.float32)
    np.testing.assert_array_equal(found.gradient["w"].astype(np.float32), np.ones(4))


def test_a_sick_row_shows():
    sick = {**ROWS, "a": np.where(np.arange(3)[:, None, None] == 1, np.nan, ROWS["a"])}
    assert all(np.isnan(leaf).all() for leaf in jax.tree.leaves(aggregate(sick, weighting=upgrad)))


@pytest.mark.parametrize(
    ("rows", "options", "error", "message"),
    [
        (ROWS, {"weighting": None}, ValueError, "give weighting="),
        (ROWS, {"weighting": 3}, TypeError, "weighting must be a function.*got a int"),
        (ROWS, {"weighting": DRIFTING}, ValueError, "needs state="),
        (ROWS, {"weighting": lambda gram: gram}, ValueError, r"one weight for.*shape \(3,\); got float64\[3,3\]"),
        ({"a": np.ones((2, 3)), "b": np.ones((3, 3))}, {"weighting": mean}, ValueError, "the same leading axis"),
        (np.ones((0, 3)), {"weighting": mean}, ValueError, "rows must hold at least one gradient"),
        (np.ones((2, 2)), {"weighting": trimmed_mean}, ValueError, "or call it on the rows"),
        ({"a": np.ones((2, 3), int)}, {"weighting": mean}, TypeError, r"rows\['a'\]"),
    ],
)
def test_refusals(rows, options, error, message):
    with pytest.raises(error, match=rf"(?s){message}"):
        aggregate(rows, **options)
