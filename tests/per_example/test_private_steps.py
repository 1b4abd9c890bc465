"""`per_example.dp_aggregate` over several calls a step: one draw of noise, one optimizer step, a state that is kept."""

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgrad.per_example import clipped_sum, dp_aggregate
from tests.bridge import assert_parity
from tests.per_example.private import mean_square, regression

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

PROBLEM = regression(batch=8, sizes=(3, 4, 2))
PARTS = jax.tree.map(lambda rows: jnp.asarray(np.reshape(rows, (4, 2, *rows.shape[1:]))), PROBLEM.data)
NOISY = {"clip_norm": 0.5, "noise_multiplier": 1.5, "expected_batch_size": 8.0}


def private(key, **changes):
    return dp_aggregate(mean_square, **{**NOISY, "key": key, "optimizer": optax.sgd(0.1, momentum=0.9), **changes})


def compiled(rule):
    """Return the update of a rule as one program, not one for each operation."""
    return jax.jit(lambda state, params, **given: rule.update(None, state, params, **given))


@jax.jit
def normal(keys, leaves):
    """Draw a normal leaf for each key."""
    return [jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]


def train(rule, parts, params=PROBLEM.params):
    """Return the parameters and the updates of every call, one call for each entry of the parts."""

    def call(carry, batch):
        params, state = carry
        update, state = rule.update(None, state, params, batch=batch)
        return (optax.apply_updates(params, update), state), update

    return jax.lax.scan(call, (params, rule.init(params)), parts)


def test_steps_are_those_of_dp_sgd_written_by_hand(key):
    """Gradients one by one, clipped, summed and noised in NumPy."""
    rule, slope = private(key, optimizer=optax.sgd(0.3, momentum=0.9)), jax.jit(jax.grad(mean_square))
    params, state, momentum, step = PROBLEM.params, rule.init(PROBLEM.params), 0.0, compiled(rule)
    rows, unravel = jax.flatten_util.ravel_pytree(params)
    theirs, following = np.array(rows), key
    for _ in range(3):
        update, state = step(state, params, batch=PROBLEM.data)
        params = optax.apply_updates(params, update)
        following, now, _ = jax.random.split(following, 3)
        leaves, structure = jax.tree.flatten(params)
        keys = jax.random.split(now, len(leaves))
        noise = structure.unflatten(normal(keys, leaves))
        total = 0.5 * 1.5 * np.array(jax.flatten_util.ravel_pytree(noise)[0])
        for i in range(8):
            one = slope(unravel(theirs), *(d[i] for d in PROBLEM.data))
            g = np.array(jax.flatten_util.ravel_pytree(one)[0])
            total += g * min(1.0, 0.5 / np.linalg.norm(g))
        momentum = total / 8 + 0.9 * momentum
        theirs = theirs - 0.3 * momentum
        assert_parity(params, unravel(theirs))


def test_calls_add_up_to_the_step_of_the_whole_batch(key):
    """The noise and Adam's moments too: nothing happened in between."""
    whole = jax.tree.map(lambda rows: jnp.stack([rows.reshape(8, -1)] * 2), PARTS)
    parts = jax.tree.map(lambda rows: jnp.concatenate([rows] * 2), PARTS)
    # the powers that Adam takes of its count mix dtypes
    with jax.numpy_dtype_promotion("standard"):
        (want, wanted), _ = train(private(key, optimizer=optax.adam(0.1)), whole)
        (got, state), updates = train(private(key, optimizer=optax.adam(0.1), accumulate_every=4), parts)
    assert_parity(got, want)
    assert_parity(state.optimizer, wanted.optimizer)
    np.testing.assert_allclose(state.mean_loss, wanted.mean_loss, rtol=1e-6)
    assert state.fraction_clipped == wanted.fraction_clipped
    for leaf in jax.tree.leaves(updates):
        moved = np.any(np.asarray(leaf) != 0, axis=tuple(range(1, leaf.ndim)))
        assert moved.tolist() == [False, False, False, True] * 2


def test_the_sums_are_kept_in_float32_for_16_bits(key):
    """A sum in bfloat16 would stop at 256, where adding one changes nothing."""
    rule = dp_aggregate(
        lambda w, x: w @ x,
        clip_norm=1.0,
        noise_multiplier=0.0,
        expected_batch_size=1.0,
        key=key,
        accumulate_every=320,
        optimizer=optax.identity(),
    )
    parts = (jnp.ones((320, 1, 1), jnp.bfloat16),)
    (_, state), updates = train(rule, parts, jnp.ones(1, jnp.bfloat16))
    assert updates[-1, 0] == 320
    assert updates.dtype == jnp.bfloat16
    assert state.gathered.total.dtype == jnp.float32


def no_gradient(w, x):
    return 0.0 * (jnp.sum(w) + x)


@pytest.mark.parametrize("calls", [1, 9])
def test_a_step_has_one_draw_of_noise(key, calls):
    """Nine draws would have three times the deviation."""
    rule = dp_aggregate(
        no_gradient,
        clip_norm=0.5,
        noise_multiplier=3.0,
        expected_batch_size=2.0,
        key=key,
        accumulate_every=calls,
        optimizer=optax.identity(),
    )
    _, updates = train(rule, (jnp.ones((2 * calls, 2)),), jnp.zeros(20000))
    steps = updates[calls - 1 :: calls]
    np.testing.assert_allclose(np.std(steps, axis=1), 0.75, rtol=0.03)
    assert abs(np.corrcoef(steps)[0, 1]) < 0.03
    assert not np.any(np.delete(np.asarray(updates), np.s_[calls - 1 :: calls], axis=0))


def test_an_empty_or_padded_part_counts_as_a_call(key):
    parts = [jax.tree.map(lambda rows, i=i: rows[i], PARTS) for i in range(2)]
    empty = jax.tree.map(lambda rows: rows[:0], parts[0])
    rule = private(key, accumulate_every=3)
    update = compiled(rule)

    def run(last, **padding):
        state = rule.init(PROBLEM.params)
        for batch in parts:
            _, state = update(state, PROBLEM.params, batch=batch)
        return update(state, PROBLEM.params, batch=last, **padding)

    got, state = run(empty)
    want, wanted = run(parts[0], is_padding=jnp.ones(2, bool))
    assert_parity(got, want)
    assert state.mean_loss == wanted.mean_loss > 0
    assert state.gathered.calls == wanted.gathered.calls == 0


def test_calls_a_step_may_be_traced(key):
    def run(every):
        return train(private(key, accumulate_every=every), PARTS)[0][0]

    assert_parity(jax.jit(run)(jnp.array(2)), run(2))


def test_one_call_a_step_holds_no_sums(key):
    assert private(key, accumulate_every=1).init(PROBLEM.params).gathered is None


def test_a_step_goes_on_from_a_file(key):
    """A raw key is an array like others; flax does not write typed ones."""
    rule = private(jax.random.key_data(key), accumulate_every=2, target_quantile=0.5, count_noise=2.0)
    parts = [jax.tree.map(lambda rows, i=i: rows[i], PARTS) for i in range(2)]
    update = compiled(rule)
    _, state = update(rule.init(PROBLEM.params), PROBLEM.params, batch=parts[0])
    read = flax.serialization.from_bytes(rule.init(PROBLEM.params), flax.serialization.to_bytes(state))
    want = update(state, PROBLEM.params, batch=parts[1])
    got = update(jax.tree.map(jnp.asarray, read), PROBLEM.params, batch=parts[1])
    assert_parity(got, want)


def test_a_state_may_be_donated(key):
    """No buffer is in it twice."""
    norm = jnp.array(0.5)
    rule = private(key, accumulate_every=2, target_quantile=0.5, count_noise=2.0, clip_norm=norm)
    batch = jax.tree.map(lambda rows: rows[0], PARTS)
    step = jax.jit(lambda s: rule.update(None, s, PROBLEM.params, batch=batch), donate_argnums=0)
    state = rule.init(PROBLEM.params)._replace(key=jax.random.clone(key))
    _, state = step(state)
    assert state.gathered.calls == 1
    assert norm == state.clip_norm == 0.5


@pytest.mark.slow
def test_a_mapped_step_is_that_of_each(key):
    rule = private(key, accumulate_every=2)
    many = jax.tree.map(lambda w: jnp.stack([w, 2 * w]), PROBLEM.params)
    got = jax.vmap(lambda params: train(rule, PARTS, params)[0][0])(many)
    for i in range(2):
        mine = jax.tree.map(lambda leaf, i=i: leaf[i], (got, many))
        assert_parity(mine[0], train(rule, PARTS, mine[1])[0][0])


def test_the_noise_of_a_step_is_not_drawn_in_between(key):
    """It is behind the conditional: outside of it the program draws no normal numbers."""
    rule = private(key, accumulate_every=4)
    state = rule.init(PROBLEM.params)
    batch = jax.tree.map(lambda rows: rows[0], PARTS)
    program = jax.make_jaxpr(lambda s: rule.update(None, s, PROBLEM.params, batch=batch))(state)
    outer = [eqn for eqn in program.eqns if eqn.primitive.name != "cond"]
    assert "erf_inv" not in str(outer)
    assert "erf_inv" in str(program)


def test_without_an_optimizer_it_says_who_steps(key):
    with pytest.raises(ValueError, match=r"accumulate_every=4 needs optimizer=.*it would step at every call"):
        private(key, accumulate_every=4, optimizer=None)


@pytest.mark.parametrize(
    ("every", "error", "message"),
    [
        (0, ValueError, "accumulate_every must be at least 1; got 0"),
        (2.0, TypeError, "accumulate_every must be a Python integer"),
        (True, TypeError, "accumulate_every must be a Python integer"),
        (jnp.asarray(np.ones(2, int)), TypeError, r"accumulate_every must be one integer; got int64\[2\]"),
        (jnp.array(2.0), TypeError, r"accumulate_every must be one integer; got float64\[\]"),
    ],
)
def test_rejects_a_number_of_calls_that_is_none(key, every, error, message):
    with pytest.raises(error, match=message):
        private(key, accumulate_every=every)


def test_rejects_the_state_of_other_options(key):
    state = private(key).init(PROBLEM.params)
    with pytest.raises(ValueError, match="state must come from init of this dp_aggregate"):
        private(key, accumulate_every=2).update(None, state, PROBLEM.params, batch=PROBLEM.data)


@pytest.mark.slow  # the steps by hand and the calls that add up say it together
def test_the_sum_of_parts_is_the_clipped_sum(key):
    rule = private(key, accumulate_every=4, noise_multiplier=0.0, optimizer=optax.identity())
    _, updates = train(rule, PARTS)
    total, _ = clipped_sum(mean_square, PROBLEM.params, *PROBLEM.data, clip_norm=0.5)
    assert_parity(jax.tree.map(lambda u: u[-1], updates), jax.tree.map(lambda g: g / 8, total))
