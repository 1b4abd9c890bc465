"""`per_example.dp_aggregate` among optax's wrappers: it is right in them, or says in one sentence what to write."""

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx

from jaxgrad.per_example import PrivateState, clipped_sum, dp_aggregate
from tests.bridge import assert_parity
from tests.per_example.private import mean_square, regression
from tests.turns import covering, one_in

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

PROBLEM = regression()
PARAMS = PROBLEM.params
ZEROS = jax.tree.map(jnp.zeros_like, PARAMS)
STATIC = ("loss_fn", "microbatch", "wrt")


def private(key, **changes):
    settings = {"clip_norm": 0.5, "noise_multiplier": 0.0, "expected_batch_size": 7.0, "key": key, **changes}
    return dp_aggregate(mean_square, **settings)


def mean(clip_norm=0.5):
    total, _ = clipped_sum(mean_square, PARAMS, *PROBLEM.data, clip_norm=clip_norm)
    return jax.tree.map(lambda g: g / 7, total)


def step(wrapped, updates):
    """Return what one update gives; ``updates`` may be the word ``params``, for the very parameters."""

    def once(params, state):
        given = params if updates == "params" else updates
        return wrapped.update(given, state, params, batch=PROBLEM.data)

    return once(PARAMS, wrapped.init(PARAMS))[0], jax.jit(once)(PARAMS, wrapped.init(PARAMS))[0]


WRAPPERS = {
    "apply_if_finite": lambda rule: optax.apply_if_finite(optax.chain(rule, optax.identity()), 3),
    "masked, all of it": lambda rule: optax.masked(rule, True),
    "conditionally_mask": lambda rule: optax.conditionally_mask(rule, lambda step: step >= 0),
    "conditionally_transform": lambda rule: optax.conditionally_transform(rule, lambda step: step >= 0),
}
WITH_NONE = {
    "chain": lambda rule: optax.chain(rule, optax.identity()),
    "named_chain": lambda rule: optax.named_chain(("private", rule), ("same", optax.identity())),
    "with_extra_args_support": optax.with_extra_args_support,
    "a finite optimizer behind it": lambda rule: optax.chain(rule, optax.apply_if_finite(optax.identity(), 3)),
    "masks behind it": lambda rule: optax.chain(
        rule, optax.masked(optax.scale(1.0), {"layer0": True, "layer1": False, "layer2": True})
    ),
    "parts behind it": lambda rule: optax.chain(
        rule,
        optax.partition({"a": optax.sgd(-1.0), "b": optax.identity()}, {"layer0": "a", "layer1": "b", "layer2": "a"}),
    ),
}


@pytest.mark.parametrize(("updates", "name"), covering([None, "params"], one_in(2, WITH_NONE)))
def test_wrappers_that_pass_things_on(key, name, updates):
    for update in step(WITH_NONE[name](private(key)), updates):
        assert_parity(update, mean())


@pytest.mark.parametrize("name", one_in(2, WRAPPERS))
def test_wrappers_that_insist_on_a_tree_get_the_parameters(key, name):
    for update in step(WRAPPERS[name](private(key)), "params"):
        assert_parity(update, mean())


def test_a_compiled_update_gets_the_parameters_twice(key):
    rule = private(key)
    update, _ = jax.jit(rule.update)(PARAMS, rule.init(PARAMS), PARAMS, batch=PROBLEM.data)
    assert_parity(update, mean())


@pytest.mark.parametrize(("averaged", "updates", "chained"), covering([True, False], [ZEROS, "params"], [True, False]))
def test_accumulation_by_optax_is_refused(key, updates, chained, averaged):
    rule = optax.chain(private(key), optax.scale(1.0)) if chained else private(key)
    steps = optax.MultiSteps(rule, every_k_schedule=2, use_grad_mean=averaged)
    # its running mean mixes dtypes
    with (
        jax.numpy_dtype_promotion("standard"),
        pytest.raises(ValueError, match=r"cannot stand inside of optax\.MultiSteps, .* with accumulate_every="),
    ):
        step(steps, updates)


def test_accumulation_by_optax_is_right_behind_it(key):
    """It averages private gradients of whole steps, each with its noise."""
    chain = optax.chain(
        private(key), optax.MultiSteps(optax.identity(), 2, accumulator_dtype=jnp.float64).gradient_transformation()
    )
    state = chain.init(PARAMS)
    # its running mean mixes dtypes
    with jax.numpy_dtype_promotion("standard"):
        first, state = chain.update(None, state, PARAMS, batch=PROBLEM.data)
        second, _ = chain.update(None, state, PARAMS, batch=PROBLEM.data)
    assert_parity(first, ZEROS)
    assert_parity(second, mean())


def test_gradients_would_be_lost(key):
    for given in (ZEROS, mean()):
        with pytest.raises(ValueError, match="updates must be None, or params where a wrapper insists on a tree"):
            step(private(key), given)


MASK = {"layer0": True, "layer1": False, "layer2": True}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda rule: optax.masked(rule, MASK),
        lambda rule: optax.partition({True: rule, False: optax.sgd(1.0)}, MASK),
        lambda rule: optax.masked(optax.chain(rule, optax.scale(1.0)), MASK),
    ],
    ids=["masked", "partition", "a chain masked"],
)
def test_hidden_leaves_are_refused_when_the_state_is_made(key, wrap):
    with pytest.raises(ValueError, match=r"choose the leaves with dp_aggregate\(..., wrt=...\)"):
        wrap(private(key)).init(PARAMS)


def test_hidden_leaves_are_refused_in_an_update(key):
    hidden = optax.masked(private(key), MASK)
    state = optax.MaskedState(private(key).init(PARAMS))
    with pytest.raises(ValueError, match="its loss needs all of them"):
        hidden.update(PARAMS, state, PARAMS, batch=PROBLEM.data)


def injected(key, **changes):
    build = optax.inject_hyperparams(dp_aggregate, static_args=STATIC, hyperparam_dtype=jnp.float32)
    settings = {"clip_norm": 0.5, "noise_multiplier": 0.0, "expected_batch_size": 7.0, "key": key, **changes}
    return build(mean_square, **settings)


def test_injected_numbers_may_follow_a_schedule(key):
    """Traced, in jit and out of it."""
    rule = injected(key, clip_norm=lambda count: 0.5 / (1 + count.astype(float)), microbatch=3)
    for update in (rule.update, jax.jit(rule.update)):
        state = rule.init(PARAMS)
        for clip_norm in (0.5, 0.25):
            got, state = update(None, state, PARAMS, batch=PROBLEM.data)
            assert_parity(got, mean(clip_norm))


def test_injected_numbers_of_an_adaptive_step_of_two_calls(key):
    changes = {
        "noise_multiplier": 1.0,
        "target_quantile": 0.5,
        "count_noise": 2.0,
        "clip_learning_rate": 0.25,
        "accumulate_every": 2,
        "optimizer": optax.identity(),
    }
    rule, plain = injected(key, **changes), private(key, **changes)
    got, want = rule.init(PARAMS), plain.init(PARAMS)
    for _ in range(2):
        mine, got = jax.jit(rule.update)(None, got, PARAMS, batch=PROBLEM.data)
        theirs, want = jax.jit(plain.update)(None, want, PARAMS, batch=PROBLEM.data)
        assert_parity(mine, theirs)
    assert_parity(got.inner_state.clip_norm, want.clip_norm)


def test_injected_noise_is_not_rounded_to_16_bits(key):
    """1.3 is 1.296875 in bfloat16: less noise than was accounted for."""
    build = optax.inject_hyperparams(dp_aggregate, static_args=STATIC)
    rule = build(mean_square, clip_norm=0.5, noise_multiplier=1.3, expected_batch_size=7.0, key=key)
    with pytest.raises(ValueError, match=r"noise_multiplier must have 32 bits or more, .* hyperparam_dtype=jnp"):
        rule.init(jax.tree.map(lambda w: w.astype(jnp.bfloat16), PARAMS))


def test_the_optimizer_of_nnx_takes_the_model_for_its_updates(key):
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    graph, before = nnx.split(model, nnx.Param)
    x, y = (jnp.asarray(rows, jnp.float32) for rows in PROBLEM.data)

    def loss(params, x, y):
        return jnp.mean((nnx.merge(graph, params)(x) - y) ** 2)

    rule = dp_aggregate(loss, clip_norm=0.5, noise_multiplier=0.0, expected_batch_size=7.0, key=key)
    optimizer = nnx.Optimizer(model, optax.chain(rule, optax.sgd(0.1)), wrt=nnx.Param)
    before = nnx.to_pure_dict(before)
    optimizer.update(model, model, batch=(x, y))
    total, _ = clipped_sum(
        lambda p, x, y: jnp.mean((x @ p["kernel"] + p["bias"] - y) ** 2), before, x, y, clip_norm=0.5
    )
    assert_parity(
        nnx.to_pure_dict(nnx.state(model, nnx.Param)), jax.tree.map(lambda w, g: w - 0.1 * g / 7, before, total)
    )


def test_what_mirrors_the_parameters_in_the_state_is_found(key):
    """Optax asks so, to lay out a state as the parameters are laid out."""
    rule = private(key, accumulate_every=2, optimizer=optax.trace(0.9), target_quantile=0.5)
    state = rule.init(PARAMS)
    marked = optax.tree_utils.tree_map_params(rule, lambda _: "theirs", state)
    assert set(jax.tree.leaves(marked.gathered.total) + jax.tree.leaves(marked.optimizer)) == {"theirs"}
    assert marked.clip_norm == state.clip_norm


def test_an_optimizer_inside_is_one_behind(key):
    inside, _ = step(private(key, optimizer=optax.sgd(0.3, momentum=0.9)), None)
    behind, _ = step(optax.chain(private(key), optax.sgd(0.3, momentum=0.9)), None)
    assert_parity(inside, behind)


MISUSE = [
    (lambda r, s: r.update(None, s, batch=PROBLEM.data), ValueError, "params must be given, since update computes"),
    (
        lambda r, s: r.update(None, s, PARAMS, batch=PROBLEM.data, is_paddin=jnp.ones(7, bool)),
        TypeError,
        "is_paddin is no argument of update; did you mean is_padding",
    ),
    (lambda r, s: r.update(None, s, PARAMS), ValueError, "batch must be given, since update computes the gradients"),
    (
        lambda r, s: r.update(None, s, PARAMS, PROBLEM.data),
        TypeError,
        "batch must be given by name: update.params, state",
    ),
    (lambda r, s: r.update(None, PARAMS, s, batch=PROBLEM.data), TypeError, "state must be the PrivateState .* a dict"),
    (
        lambda r, s: r.update(None, s, PARAMS, batch=PROBLEM.data[0]),
        TypeError,
        r"batch must be a tuple .*: batch=\(x,\)",
    ),
    (lambda r, s: r.update(None, s, PARAMS, batch=()), ValueError, "at least one array with a leading axis"),
    (lambda r, s: r.update(None, s, PARAMS, batch=PROBLEM.data, is_padding=True), ValueError, "must be 7 booleans"),
]


@pytest.mark.parametrize(("call", "error", "message"), MISUSE)
def test_misuse_is_told_in_a_sentence(key, call, error, message):
    rule = private(key)
    state = rule.init(PARAMS)
    assert isinstance(state, PrivateState)
    with pytest.raises(error, match=message) as raised:
        call(rule, state)
    assert "\n" not in str(raised.value)
