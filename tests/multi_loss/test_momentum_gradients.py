"""`multi_loss.momentum_gradients` against torch over two rounds, a closed form, and what one step costs."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.multi_loss
from jaxgrad.multi_loss import init_momentum, momentum_gradients
from tests.bridge import assert_parity
from tests.multi_loss.heads import heads, outputs, outputs_torch
from tests.multi_loss.rules import drifting, mean

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

PROBLEM = heads()
DRIFTING = drifting(0.25)


def guarded(gram):
    """Divide every row by its norm; a row of zeros stays."""
    squares = jnp.diagonal(gram)
    return jnp.where(squares == 0, 1, squares) ** -0.5


def test_matches_torch_for_two_rounds():
    state = init_momentum(PROBLEM.params, 2)
    state_torch = torch_ref.multi_loss.init_momentum(PROBLEM.params_torch, 2)
    assert_parity(state.momenta["trunk"], jax.tree.map(jnp.zeros_like, state.momenta["trunk"]))
    for _ in range(4):
        gradient, state = momentum_gradients(outputs, PROBLEM.params, state, PROBLEM.x, weighting=guarded)
        want, state_torch = torch_ref.multi_loss.momentum_gradients(
            outputs_torch, PROBLEM.params_torch, state_torch, PROBLEM.x_torch, weighting=guarded_torch
        )
        assert_parity(gradient, want)
    for k, momentum in enumerate(state_torch["momenta"]):
        assert_parity(jax.tree.map(lambda leaf, k=k: leaf[k], state.momenta), momentum)
    assert (state.counts.tolist(), state.step.item()) == ([2, 2], 4)


def guarded_torch(gram):
    squares = gram.diagonal()
    return squares.where(squares > 0, squares.new_ones(())) ** -0.5


def test_closed_form_of_a_constant_gradient():
    """The corrected momentum of a gradient that stays is that gradient, from its first turn on."""
    state, rows = init_momentum(jnp.ones(2), 2), [[1.0, 2.0], [3.0, -1.0]]

    def losses(w):
        return w @ jnp.array(rows[0]), w @ jnp.array(rows[1])

    found = []
    for _ in range(5):
        gradient, state = momentum_gradients(losses, jnp.ones(2), state, weighting=mean, decay=0.5)
        found.append(gradient)
    assert_parity(found[0], jnp.array([0.5, 1.0]))
    assert_parity(jnp.stack(found[1:]), jnp.array([[2.0, 0.5]] * 4))


def handed_out(rows):
    """A rule of the rows that keeps them."""
    return rows


def test_rules_of_rows_and_rules_with_a_state():
    state = init_momentum(PROBLEM.params, 2, rule=DRIFTING.init(2))
    rows, after = momentum_gradients(outputs, PROBLEM.params, state, PROBLEM.x, aggregator=handed_out)
    assert_parity(rows["trunk"]["layer0"]["bias"][1], jnp.zeros(3))
    assert rows["head0"]["layer0"]["weight"].shape == (2, 5, 3)
    _, again = momentum_gradients(outputs, PROBLEM.params, after, PROBLEM.x, weighting=DRIFTING)
    assert_parity(after.rule, jnp.ones(2))
    assert not jnp.array_equal(again.rule, after.rule)


def test_a_sick_step_shows_and_is_not_learned_from():
    """A momentum that has held a NaN once would hold it for ever."""

    def losses(w, scale):
        return w @ jnp.array([1.0, 2.0]) * scale, jnp.sum(w**2)

    w = jnp.array([1.0, 3.0])
    start = init_momentum(w, 2)
    for _ in range(2):
        _, start = momentum_gradients(losses, w, start, 1.0, weighting=guarded)
    for scale in (math.nan, math.inf):
        gradient, after = momentum_gradients(losses, w, start, scale, weighting=guarded)
        assert np.isnan(gradient).all()
        assert_parity((after.momenta, after.counts), (start.momenta, start.counts))
        assert after.step == start.step + 1
        # the loss whose turn is next has its own
        gradient, _ = momentum_gradients(losses, w, after, scale, weighting=guarded)
        assert np.isfinite(gradient).all()


def test_wrt_holds_leaves():
    state = init_momentum(PROBLEM.params, 2)
    gradient, state = momentum_gradients(outputs, PROBLEM.params, state, PROBLEM.x, weighting=mean, wrt="trunk")
    assert not any(leaf.any() for leaf in jax.tree.leaves((gradient["head0"], state.momenta["head1"])))
    assert state.momenta["trunk"]["layer0"]["weight"].any()


def test_a_branch_holds_one_loss_alone():
    """Two networks: each branch has the forward and the backward of one of them."""

    def apart(params, x):
        return jnp.mean(jnp.tanh(x @ params["a"])), jnp.mean(jnp.tanh(x @ params["b"]) ** 2)

    params = {"a": jnp.ones((2, 3)), "b": jnp.ones((2, 3))}
    step = functools.partial(momentum_gradients, apart, weighting=mean)
    text = jax.jit(step).lower(params, init_momentum(params, 2), PROBLEM.x).as_text()
    assert text.count(".tanh ") == 2


def test_refusals():
    with pytest.raises(ValueError, match=r"state must have the structure.*multi_loss.init_momentum\(params, 2\)"):
        momentum_gradients(outputs, PROBLEM.params, init_momentum(PROBLEM.params, 3), PROBLEM.x, weighting=mean)
    with pytest.raises(ValueError, match=r"num_losses must be at least 1; got 0"):
        init_momentum(PROBLEM.params, 0)
    state = init_momentum(PROBLEM.params, 2)
    with pytest.raises(ValueError, match="decay must not be negative"):
        momentum_gradients(outputs, PROBLEM.params, state, PROBLEM.x, weighting=mean, decay=-0.5)
