"""`multi_loss.cr_mogm`: the first step, schedules, rules with a state within, and TorchJD."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgrad.multi_loss import cr_mogm, modo
from jaxgrad.verify._bridge import to_torch
from tests.multi_loss.stateful_weightings import GRAMS, inverse_lengths, run

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


def test_the_first_weights_are_those_of_the_rule():
    np.testing.assert_allclose(run("cr_mogm")[0][0], inverse_lengths(GRAMS[0]))


def test_a_schedule_counts_from_0():
    """Its first value is read by no one: there is nothing before."""
    made = cr_mogm(inverse_lengths, decay=optax.linear_schedule(0.0, 1.0, 2))
    state, found = made.init(3), []
    for gram in GRAMS[:3]:
        weights, state = made.update(jnp.asarray(gram), state)
        found.append(weights)
    first, second = inverse_lengths(GRAMS[0]), inverse_lengths(GRAMS[1])
    np.testing.assert_allclose(found[1], (first + second) / 2, rtol=1e-12)
    np.testing.assert_array_equal(found[2], found[1])


def test_a_rule_with_a_state_within():
    made, inner = cr_mogm(modo(), decay=0.0), modo()
    state, alone = made.init(3), inner.init(3)
    for gram in GRAMS[:3]:
        weights, state = made.update(gram, state)
        want, alone = inner.update(gram, alone)
    np.testing.assert_array_equal(weights, want)
    np.testing.assert_array_equal(state.rule.weights, alone.weights)


def test_agrees_with_torchjd():
    """Around a rule that both have."""
    torchjd = pytest.importorskip("torchjd.aggregation")
    theirs = torchjd.CRMOGMWeighting(torchjd.IMTLGWeighting(), alpha=0.6)
    made = cr_mogm(lambda gram: jnp.asarray(torchjd.IMTLGWeighting()(to_torch(np.asarray(gram))).numpy()), decay=0.6)
    state = made.init(3)
    for gram in GRAMS:
        weights, state = made.update(gram, state)
        np.testing.assert_allclose(weights, theirs(to_torch(gram)).numpy(), rtol=1e-12)


def test_rejects_what_is_no_rule():
    with pytest.raises(TypeError, match=r"weighting must be a function, or a pair \(init, update\)"):
        cr_mogm(0.5)
    with pytest.raises(ValueError, match="decay must not be negative"):
        cr_mogm(inverse_lengths, decay=-1.0)


def test_rejects_products_of_another_number_of_losses():
    made = cr_mogm(inverse_lengths)
    with pytest.raises(ValueError, match=r"one weight for each of the 3 losses that the state.*got float64\[2\]"):
        made.update(jnp.eye(2), made.init(3))
