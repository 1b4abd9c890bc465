"""What the stateful weightings share: the twins, the scale of the gradients, sick matrices, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad import multi_loss
from tests.bridge import assert_parity
from tests.multi_loss.stateful_weightings import GIVEN, KEYS, ROWS, RULES, program, run, run_torch, started

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

UPDATES = {name: jax.jit(found.ours.update) for name, found in RULES.items()}
"""Each as one program for all tests, not one for each operation."""

SCALE_FREE = ("gradvac", "excess_mtl", "sdmgrad", "pcd")
"""Rules whose weights do not depend on a scale that all gradients share."""


def extra(name):
    return {"key": KEYS[0]} if name == "gradvac" else {}


@pytest.mark.parametrize("name", RULES)
def test_matches_torch(name):
    assert_parity(run(name)[0], run_torch(name))


@pytest.mark.parametrize("name", RULES)
def test_the_weights_change_from_step_to_step(name):
    """And those that are shares sum to 1."""
    weights = run(name)[0]
    assert (np.abs(np.diff(weights[-3:], axis=0)).max(1) > 1e-4).all()
    if name in {"excess_mtl", "modo", "sdmgrad"}:
        np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-12)
        assert weights.min() >= 0


@pytest.mark.parametrize("name", SCALE_FREE)
@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_no_scale_is_another_case(name, scale):
    given = GIVEN[name] * (scale if name == "excess_mtl" else scale**2)
    np.testing.assert_allclose(program(name)(given)[0], run(name)[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_what_is_not_finite_shows_and_leaves_the_state(name):
    state, update = run(name)[1], UPDATES[name]
    # an infinite length has the inverse 0 in the rule within cr_mogm
    for sick in (np.nan, np.inf)[: 1 if name == "cr_mogm" else 2]:
        given = GIVEN[name][0].copy()
        given[1, 1] = sick
        weights, after = update(given, state, **extra(name))
        assert not np.isfinite(weights).all()
        jax.tree.map(np.testing.assert_array_equal, after, state)


@pytest.mark.parametrize("name", RULES)
def test_zeros_are_finite(name):
    made = RULES[name].ours
    if name == "cr_mogm":  # the rule within has the say
        return
    state = started(name, made)
    for given in (
        np.zeros_like(GIVEN[name][0]),
        GIVEN[name][0] * [[1], [0], [1]] * ([1] if name == "excess_mtl" else [1, 0, 1]),
    ):
        weights, state = UPDATES[name](given, state, **extra(name))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((weights, state)))


@pytest.mark.parametrize("name", RULES)
def test_float32_keeps_its_dtype(name):
    made = RULES[name].ours
    state = made.init(3, jnp.zeros(5, jnp.float32)) if name == "excess_mtl" else made.init(3)
    weights, after = UPDATES[name](GIVEN[name][0].astype(np.float32), state, **extra(name))
    assert weights.dtype == jnp.float32
    np.testing.assert_allclose(weights, run(name)[0][0], rtol=2e-4, atol=1e-5)
    jax.tree.map(lambda new, old: np.testing.assert_equal(new.dtype, old.dtype), after, state)


@pytest.mark.parametrize("name", RULES)
def test_rejects_what_is_no_state(name):
    for state in (None, tuple(started(name, RULES[name].ours))):
        with pytest.raises(TypeError, match=r"state must be the \w+State that init\(num_losses.*; got a (None|tup)"):
            RULES[name].ours.update(GIVEN[name][0], state, **extra(name))


@pytest.mark.parametrize("name", [name for name in RULES if name != "cr_mogm"])
def test_rejects_what_is_not_of_these_losses(name):
    made = RULES[name].ours
    state = started(name, made)
    with pytest.raises(ValueError, match=r"(gram|products|rows).* must (be|have)"):
        made.update(jnp.ones((2, 2)), state, **extra(name))
    with pytest.raises(TypeError, match=r"(gram|products|rows) must have leaves that are real floating-point"):
        made.update(jnp.ones(GIVEN[name][0].shape, int), state, **extra(name))
    with pytest.raises(ValueError, match="num_losses must be at least 1; got 0"):
        made.init(0, *([ROWS[0]] if name == "excess_mtl" else []))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gradvac", {"beta": 0.3}),
        ("excess_mtl", {"learning_rate": 0.7}),
        ("modo", {"learning_rate": 0.05, "regularization": 0.2}),
        ("sdmgrad", {"learning_rate": 0.5, "momentum": 0.5, "strength": 0.3}),
        ("pcd", {"fraction": 0.2, "decay": 0.9}),
    ],
)
def test_options_may_be_traced_numbers_of_another_dtype(name, options):
    """And differentiated by: a learned step, for instance."""

    def weights(options):
        made = getattr(multi_loss, name)(**options)
        state = started(name, made)
        for given in GIVEN[name][:2]:
            found, state = made.update(given, state, **extra(name))
        return found

    narrow = {key: jnp.float32(value) for key, value in options.items()}
    wide = {key: jnp.asarray(value) for key, value in options.items()}
    want, slopes = jax.jit(lambda options: (weights(options), jax.jacfwd(weights)(options)))(wide)
    np.testing.assert_allclose(jax.jit(weights)(narrow), want, rtol=1e-5, atol=1e-6)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(slopes)) > 1e-3


@pytest.mark.parametrize("name", ["gradvac", "pcd"])
def test_the_derivative_by_the_products(name):
    """Of the second step, when the state has seen one matrix; the lengths of the gradients move too."""
    made = RULES[name].ours
    _, state = made.update(GIVEN[name][0], made.init(3), **extra(name))
    along, turn = np.array([0.3, -0.7, 1.1]), np.random.default_rng(0).normal(size=(3, 3))

    def value(t):
        return made.update(GIVEN[name][1] + t * (turn + turn.T) / 10, state, **extra(name))[0] @ along

    program = jax.jit(value)
    difference = (program(1e-5) - program(-1e-5)) / 2e-5
    assert abs(difference) > 1e-3
    np.testing.assert_allclose(jax.jit(jax.grad(value))(0.0), difference, rtol=1e-7)
