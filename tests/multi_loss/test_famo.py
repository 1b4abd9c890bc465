"""`multi_loss.famo`: the first step, bounds, small losses, and TorchJD."""

import jax
import numpy as np
import optax
import pytest

from jaxgrad.multi_loss import famo
from jaxgrad.verify._bridge import to_torch
from tests.multi_loss.rules import compiled
from tests.multi_loss.stateful_scalarizers import AFTER, LOSSES, run

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

PLAIN = compiled(famo())


def test_at_first_the_gradient_is_the_mean_by_relative_change():
    values, slopes, _ = run("famo")
    shares = 1 / LOSSES[0]
    np.testing.assert_allclose(slopes[0], shares / shares.sum(), rtol=1e-12)
    np.testing.assert_allclose(values[0], np.log(LOSSES[0]).sum() / shares.sum(), rtol=1e-12)


def test_without_losses_after_the_step_those_of_the_next_are_taken():
    """And what is given for the first step is not read."""
    made = PLAIN
    value, state = made.update(LOSSES[0], made.init(3))
    ignored = made.update(LOSSES[0], made.init(3), after=AFTER[5])
    np.testing.assert_array_equal(value, ignored[0])
    got, want = made.update(LOSSES[1], state), made.update(LOSSES[1], state, after=LOSSES[1])
    jax.tree.map(np.testing.assert_array_equal, got, want)
    # the losses move the logits too, but their derivative does not pass there
    slope = jax.jit(jax.grad(lambda losses: made.update(losses, state)[0]))(LOSSES[1])
    np.testing.assert_allclose(slope.sum(), 1, rtol=1e-12)


def test_after_a_sick_step_there_is_nothing_to_compare_with():
    """What is given as the losses after it belongs to its batch, not to the one before."""
    made = PLAIN
    _, state = made.update(LOSSES[0], made.init(3))
    _, state = made.update(LOSSES[1] * np.nan, state, after=AFTER[1])
    learned = state.logits
    _, state = made.update(LOSSES[2], state, after=AFTER[2])
    np.testing.assert_array_equal(state.logits, learned)
    _, state = made.update(LOSSES[3], state, after=AFTER[3])
    assert np.abs(state.logits - learned).max() > 1e-3


def test_what_fell_less_gets_more_weight():
    made = compiled(famo(optimizer=optax.sgd(0.1)))
    _, state = made.update(np.array([1.0, 1.0]), made.init(2))
    _, state = made.update(np.array([0.5, 0.9]), state)
    assert state.logits[1] > 0 > state.logits[0]


def test_small_losses_in_float32():
    made = PLAIN
    value, slope = jax.jit(jax.value_and_grad(lambda losses: made.update(losses, made.init(2))[0]))(
        np.array([1e-37, 2e-37], np.float32)
    )
    assert value.dtype == np.float32
    np.testing.assert_allclose(slope, [2 / 3, 1 / 3], rtol=1e-5)


def test_a_loss_at_its_bound_shows():
    made = compiled(famo(lower_bounds={"a": 0.0, "b": 1.0}))
    value, state = made.update({"a": 0.5, "b": 1.0}, made.init(2))
    assert not np.isfinite(value)
    assert not state.is_known


def test_agrees_with_torchjd():
    """Which adds 1e-8 to every loss."""
    torchjd = pytest.importorskip("torchjd.scalarization")
    theirs, values = torchjd.FAMO(3).double(), []
    for losses, after in zip(to_torch(LOSSES), to_torch(np.roll(AFTER, -1, 0)), strict=True):
        values.append(theirs(losses).item())
        theirs.update(after)
    np.testing.assert_allclose(run("famo")[0], values, rtol=1e-6, atol=1e-7)


def test_rejects_bounds_of_other_losses():
    made = famo(lower_bounds=np.zeros(2))
    with pytest.raises(ValueError, match="lower_bounds must hold one number for each of the 3 losses"):
        made.update(LOSSES[0], made.init(3))
    with pytest.raises(ValueError, match="after must be the 3 losses that the state was started for"):
        famo().update(LOSSES[0], famo().init(3), after=np.ones(2))
