"""What the stateful scalarizers share: the twins, one state in a scan, sick losses, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgrad import gradient, multi_loss
from tests.bridge import assert_parity
from tests.multi_loss.rules import compiled
from tests.multi_loss.stateful_scalarizers import LOSSES, RULES, run, run_torch

pytestmark = pytest.mark.usefixtures("compiled_quickly")


UPDATES = {name: jax.jit(found.ours.update) for name, found in RULES.items()}
"""Each as one program for all tests, not one for each operation."""


def first_extra(name):
    return {key: rows[0] for key, rows in RULES[name].extra.items()}


@pytest.mark.parametrize("name", RULES)
def test_matches_torch(name):
    values, state = run_torch(name)
    assert_parity(run(name)[0], values)
    if RULES[name].learned:
        assert_parity(getattr(run(name)[2], RULES[name].learned), state[RULES[name].learned].detach().numpy())


@pytest.mark.parametrize("name", RULES)
def test_the_derivative_is_a_weighting_of_the_losses(name):
    """No derivative by the losses passes through what is learned from them: all are above zero."""
    values, slopes, _ = run(name)
    assert (slopes > 0).all()
    if name == "famo":  # a convex combination, at every step
        np.testing.assert_allclose(slopes.sum(1), 1, rtol=1e-12)
    elif name in {"dwa", "gradnorm"}:
        np.testing.assert_allclose((slopes * LOSSES).sum(1), values, rtol=1e-12)
        np.testing.assert_allclose(slopes.sum(1), 3, rtol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_a_sick_step_shows_and_leaves_what_was_learned(name):
    state, update = run(name)[2], UPDATES[name]
    for sick in ([1, np.nan, 1], [1, np.inf, 1], [0, np.inf, 1]):
        value, after = update(LOSSES[0] * sick, state, **first_extra(name))
        assert not np.isfinite(value)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after))
        kept = RULES[name].learned or "newer"
        if name != "famo":  # its losses after the last step were sound, and were learned from
            np.testing.assert_array_equal(getattr(after, kept), getattr(state, kept))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_state_keeps_its_dtype_whatever_the_losses(name, dtype):
    made = RULES[name].ours
    state = made.init(3)
    value, after = UPDATES[name](jnp.asarray(LOSSES[0], dtype), state, **first_extra(name))
    assert value.dtype == jnp.float32
    jax.tree.map(lambda new, old: np.testing.assert_equal(new.dtype, jnp.result_type(old)), after, state)


@pytest.mark.parametrize("name", RULES)
def test_a_training_by_gradients_with_the_state_as_aux(name):
    """The value differentiates through a tree of losses as it does through an array."""
    made = RULES[name].ours

    def loss(params, state):
        losses = {"a": jnp.sum(params**2), "b": jnp.sum(params) ** 2 + 1, "c": jnp.exp(params[0])}
        return made.update(losses, state, **first_extra(name))

    slope, state = gradient.parameter_gradient(loss, jnp.array([0.3, -0.5]), made.init(3), has_aux=True)
    assert np.isfinite(slope).all()
    assert jax.tree.structure(state) == jax.tree.structure(made.init(3))


@pytest.mark.parametrize("name", RULES)
def test_rejects_other_losses_than_it_was_started_for(name):
    made, extra = RULES[name].ours, first_extra(name)
    with pytest.raises(ValueError, match=r"losses must be the 3 losses that the state was started for.*got 2"):
        made.update(jnp.ones(2), made.init(3), **extra)
    with pytest.raises(TypeError, match=r"losses must have leaves that are real floating-point"):
        made.update(jnp.array([1, 2, 3]), made.init(3), **extra)
    with pytest.raises(ValueError, match="num_losses must be at least 1; got 0"):
        made.init(0)
    with pytest.raises(TypeError, match=r"state must be the \w+State that init\(num_losses\) or.*got a tuple"):
        made.update(jnp.ones(3), tuple(made.init(3)), **extra)


@pytest.mark.parametrize("name", ["uncertainty", "imtl_l", "gradnorm", "famo"])
def test_rejects_what_is_no_optimizer(name):
    with pytest.raises(TypeError, match="optimizer must be an optax transformation"):
        getattr(multi_loss, name)(optimizer=0.1)


@pytest.mark.parametrize(("name", "learned"), [("uncertainty", "log_variances"), ("imtl_l", "log_scales")])
def test_what_is_learned_may_be_moved_by_another(name, learned):
    """With an optimizer that moves nothing the value's own derivative is the one that the optimizer is given."""
    still = getattr(multi_loss, name)(optimizer=optax.set_to_zero())
    moves = getattr(multi_loss, name)(optimizer=optax.sgd(1.0))
    state = still.init(3)

    def value(logs):
        return still.update(LOSSES[0], state._replace(**{learned: logs}))[0]

    slope = jax.jit(jax.grad(value))(jnp.zeros(3))
    np.testing.assert_array_equal(getattr(compiled(still).update(LOSSES[0], state)[1], learned), np.zeros(3))
    np.testing.assert_allclose(
        getattr(compiled(moves).update(LOSSES[0], moves.init(3))[1], learned), -slope, rtol=1e-14
    )
