"""`multi_loss.excess_mtl`: the warm-up, rows of many leaves, a late gradient, and TorchJD."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad.multi_loss import excess_mtl
from jaxgrad.verify._bridge import to_torch
from tests.multi_loss.rules import compiled
from tests.multi_loss.stateful_weightings import ROWS, run

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

PLAIN = compiled(excess_mtl())


def test_weights_are_equal_while_it_warms_up_and_at_the_first_step_without():
    np.testing.assert_allclose(run("excess_mtl")[0][:2], 1 / 3, rtol=1e-14)
    made = PLAIN
    weights, state = made.update(ROWS[0], made.init(3, jnp.zeros(5)))
    np.testing.assert_allclose(weights, 1 / 3, rtol=1e-14)
    np.testing.assert_allclose(state.first, np.abs(ROWS[0]).sum(1), rtol=1e-12)  # g^2 / |g|


def test_a_tree_of_rows_is_their_matrix():
    made, split = PLAIN, [slice(0, 1), slice(1, 5)]
    state = made.init(3, {"a": jnp.zeros(()), "b": jnp.zeros((2, 2))})
    whole = made.init(3, jnp.zeros(5))
    for rows in ROWS[:3]:
        tree = {"a": rows[:, 0], "b": rows[:, split[1]].reshape(3, 2, 2)}
        weights, state = made.update(tree, state)
        want, whole = made.update(rows, whole)
    np.testing.assert_allclose(weights, want, rtol=1e-12)


def test_a_loss_whose_first_gradient_is_zero_gets_its_unit_later():
    made = PLAIN
    state = made.init(2, jnp.zeros(2))
    _, state = made.update(np.array([[1.0, 1.0], [0.0, 0.0]]), state)
    _, state = made.update(np.array([[1.0, 1.0], [0.0, 3.0]]), state)
    np.testing.assert_allclose(state.first, [2.0, 3.0])


def test_squares_that_leave_float32():
    made = PLAIN
    state = made.init(2, jnp.zeros(2, jnp.float32))
    for rows in ([[1e-30, 1e-30], [1e30, 0.0]], [[1e-30, 0.0], [1e30, 1e30]]):
        weights, state = made.update(np.array(rows, np.float32), state)
    want = np.exp([np.sqrt(0.5) / 2, np.sqrt(0.5) + 1])
    np.testing.assert_allclose(weights, want / want.sum(), rtol=1e-5)


def test_agrees_with_torchjd():
    """Which adds 1e-7 below roots and quotients."""
    torchjd = pytest.importorskip("torchjd.aggregation")
    theirs = torchjd.ExcessMTLWeighting(robust_step_size=0.7, n_warmup_steps=2)
    np.testing.assert_allclose(run("excess_mtl")[0], [theirs(to_torch(rows)).numpy() for rows in ROWS], rtol=1e-5)


def test_rejects_wrong_options():
    with pytest.raises(ValueError, match="learning_rate must be positive"):
        excess_mtl(learning_rate=0.0)
    with pytest.raises(ValueError, match="num_warmup_steps must be at least 0; got -1"):
        excess_mtl(num_warmup_steps=-1)
