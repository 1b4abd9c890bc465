"""Gradients whose squares float32 does not hold: their products in another unit, and what rules are told of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad import multi_loss
from jaxgrad.multi_loss import aggregated_gradient
from jaxgrad.multi_loss._inner_products import of_rows
from jaxgrad.multi_loss._units import GIVEN_A_UNIT, IN_ANY_UNIT
from tests.multi_loss.gram_rules import ROWS, RULES

pytestmark = pytest.mark.usefixtures("compiled_quickly")

FIRST = ROWS["in conflict"]
FACTORS = np.array([
    [1, 1, 1], [1e-15, 1, 1e15], [1e25, 1e25, 1e25], [1e25, 1e5, 1e-5], [1e-19, 1, 1], [3e37, 0, 1e37],
])  # fmt: skip


def losses(w, rows):
    return tuple(row @ w for row in rows)


def run(rows, **options):
    rows = np.asarray(rows, np.float32)
    return aggregated_gradient(losses, jnp.zeros(7, jnp.float32), rows, full_output=True, **options)


@pytest.mark.parametrize("name", ["upgrad", "fairgrad"])
def test_no_length_is_out_of_range(name):
    """One rule that is told of the unit, and one that does not need to be."""
    want = np.asarray(RULES[name].call(FIRST @ FIRST.T)) @ FIRST
    for scale in (1e25, 1e-25, 1.0):
        got = run(FIRST * scale, weighting=RULES[name].call)
        assert got.gradient.dtype == np.float32
        vector = got.gradient.astype(float) / scale ** RULES[name].degree
        np.testing.assert_allclose(vector, want, rtol=0, atol=1e-4 * np.abs(want).max())
        assert (np.isfinite(got.gram) == (scale < 1e19)).all()


def test_the_unit_lies_between_the_shortest_row_and_the_longest():
    lengths = np.linalg.norm(FIRST, axis=1)
    in_one_unit = jax.jit(lambda rows: of_rows({"a": rows[:, :3], "b": rows[:, 3:]}).in_one_unit())
    for factors in FACTORS:
        rows = (FIRST / lengths[:, None] * np.array(factors)[:, None]).astype(np.float32)
        matrix, unit = (np.asarray(part, float) for part in in_one_unit(rows))
        assert np.log2(unit) == np.round(np.log2(unit))
        assert (unit == 1) == (max(factors) < 1e17 and min(factors) > 1e-17), factors
        rows = rows.astype(float) / unit
        missed = np.abs(matrix - rows @ rows.T)
        assert (missed <= 1e-5 * np.outer(factors / unit, factors / unit)).all()


def test_every_rule_has_been_asked_for_its_unit():
    """A new rule reads the products as they are until it stands in one of the two lists."""
    assert {rule.__name__ for rule in (*IN_ANY_UNIT, *GIVEN_A_UNIT)} == set(RULES)


def test_what_is_far_shorter_counts_as_zeros():
    got = run(FIRST * np.array([[1e25], [1e25], [1e-25]]), weighting=multi_loss.upgrad)
    without = FIRST * np.array([[1.0], [1.0], [0.0]])
    want = np.asarray(multi_loss.upgrad(without @ without.T)) @ without
    np.testing.assert_allclose(got.gradient / np.float32(1e25), want, rtol=1e-4)
    np.testing.assert_array_equal(np.isinf(got.gram), [[1, 1, 0], [1, 1, 0], [0, 0, 0]])


def test_a_rule_of_your_own_reads_the_products_as_they_are():
    np.testing.assert_array_equal(run(FIRST * 1e-25, weighting=jnp.diagonal).weights, 0)
