"""`multi_loss.dwa`: the first epochs, the plain losses, zeros and sick steps, and TorchJD."""

import numpy as np
import pytest

from jaxgrad.multi_loss import dwa
from jaxgrad.verify._bridge import to_torch
from tests.multi_loss.stateful_scalarizers import LOSSES, run

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


def test_all_weights_are_1_in_the_first_two_epochs_and_not_after():
    values, slopes, _ = run("dwa")
    np.testing.assert_array_equal(slopes[:6], np.ones((6, 3)))
    np.testing.assert_allclose(values[:6], LOSSES[:6].sum(1), rtol=1e-14)
    means = LOSSES[:6].reshape(2, 3, 3).mean(1)
    powers = np.exp(means[1] / means[0] / 1.5)
    np.testing.assert_allclose(slopes[6:9], np.tile(3 * powers / powers.sum(), (3, 1)), rtol=1e-12)


def stepped(made, rows):
    state = made.init(2)
    for row in rows:
        value, state = made.update(np.array(row), state)
    return value, state


def test_a_loss_that_was_zero_has_the_ratio_1():
    value, _ = stepped(dwa(steps_per_epoch=1), [[0.0, 1.0], [0.0, 1.0], [1.0, 3.0]])
    np.testing.assert_allclose(value, 4.0)


def test_a_sick_step_counts_in_no_mean_and_ends_its_epoch():
    made = dwa(steps_per_epoch=2)
    _, state = stepped(made, [[1.0, 2.0], [np.nan, 5.0]])
    np.testing.assert_array_equal(state.newer, [1.0, 2.0])
    _, state = stepped(made, [[1.0, 2.0], [3.0, 4.0], [np.inf, 1.0], [1.0, np.nan]])
    np.testing.assert_array_equal([state.newer, state.older], [[2.0, 3.0]] * 2)


def test_agrees_with_torchjd():
    torchjd = pytest.importorskip("torchjd.scalarization")
    theirs, values = torchjd.DWA(1.5), []
    for i, losses in enumerate(to_torch(LOSSES)):
        values.append(theirs(losses).item())
        if i % 3 == 2:
            theirs.step()
    np.testing.assert_allclose(run("dwa")[0], values, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps_per_epoch": 0}, ValueError, "steps_per_epoch must be at least 1; got 0"),
        ({"steps_per_epoch": 2.5}, TypeError, "steps_per_epoch must be a Python integer"),
        ({"steps_per_epoch": 1, "temperature": 0.0}, ValueError, "temperature must be positive"),
        ({"steps_per_epoch": 1, "temperature": "hot"}, TypeError, "temperature must be a real number"),
    ],
)
def test_rejects_wrong_options(options, error, message):
    with pytest.raises(error, match=message):
        dwa(**options)
