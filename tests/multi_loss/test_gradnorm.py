"""`multi_loss.gradnorm`: what it settles at, its first step, and what is refused."""

import jax
import numpy as np
import optax
import pytest

from jaxgrad.multi_loss import gradnorm
from tests.multi_loss.stateful_scalarizers import LOSSES, NORMS

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


def test_the_first_step_in_closed_form():
    """All rates are 1 at first: what is longer than the mean is made lighter, by its plain norm."""
    made = gradnorm(optimizer=optax.sgd(0.01))
    value, state = made.update(LOSSES[0], made.init(3), norms=NORMS[0])
    np.testing.assert_allclose(value, LOSSES[0].sum())
    moved = 1 - 0.01 * NORMS[0] * np.sign(NORMS[0] - NORMS[0].mean())
    np.testing.assert_allclose(state.weights, 3 * moved / moved.sum(), rtol=1e-14)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_settles_where_the_lengths_fit_the_rates(alpha):
    """The slope has one size, so that weights reach their place but for a step of the falling rate."""
    made = gradnorm(optimizer=optax.adam(optax.cosine_decay_schedule(0.05, 400)), alpha=alpha)
    first, losses, norms = np.ones(2), np.array([0.25, 0.5]), np.array([3.0, 1.0])
    _, state = made.update(first, made.init(2), norms=norms)

    def step(state, _):
        return made.update(losses, state, norms=norms)[1], None

    state = jax.jit(lambda state: jax.lax.scan(step, state, None, length=400)[0])(state)
    want = (losses / losses.mean()) ** alpha / norms
    np.testing.assert_allclose(state.weights, 2 * want / want.sum(), atol=0.02)
    np.testing.assert_allclose(state.weights.sum(), 2, rtol=1e-12)


def test_losses_of_zero_are_finite():
    made = gradnorm(optimizer=optax.sgd(0.1))
    state = made.init(2)
    for losses in (np.array([0.0, 1.0]), np.array([0.0, 0.5]), np.zeros(2)):
        _, state = made.update(losses, state, norms=np.array([0.0, 1.0]))
        assert np.isfinite(state.weights).all()


def test_rejects_wrong_options():
    with pytest.raises(ValueError, match="alpha must not be negative"):
        gradnorm(optimizer=optax.sgd(0.1), alpha=-1.0)
    made = gradnorm(optimizer=optax.sgd(0.1))
    with pytest.raises(ValueError, match="norms must hold one number for each of the 3 losses"):
        made.update(LOSSES[0], made.init(3), norms=np.ones(2))
