"""`per_example.dp_aggregate`: the noise of every kind of clipping, the quantile, and what one example can add."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgrad.per_example import clipped_sum, dp_aggregate
from tests.bridge import assert_parity
from tests.per_example.private import mean_square, regression
from tests.turns import covering, in_turn, one_in

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

PROBLEM = regression()
PER_LAYER = {"layer0": 0.3, "layer1": {"bias": 0.4, "weight": 1.2}, "layer2": 0.1}


def automatic(norms):
    return 0.5 / (norms + 0.01)


automatic.sensitivity = 0.5


def shameless(norms):
    """Claim one bound and scale to another."""
    return 100.0 * jnp.ones_like(norms)


shameless.sensitivity = 0.25


def private(key, loss_fn=mean_square, **changes):
    settings = {"clip_norm": 0.5, "noise_multiplier": 0.0, "expected_batch_size": 1.0, "key": key, **changes}
    return dp_aggregate(loss_fn, **settings)


def step(rule, params=PROBLEM.params, batch=PROBLEM.data):
    return jax.jit(rule.update)(None, rule.init(params), params, batch=batch)


@pytest.mark.parametrize("clip_norm", [PER_LAYER, automatic], ids=["per layer", "automatic"])
def test_without_noise_it_is_the_clipped_sum(key, clip_norm):
    update, state = step(private(key, clip_norm=clip_norm))
    total, info = clipped_sum(mean_square, PROBLEM.params, *PROBLEM.data, clip_norm=clip_norm)
    assert_parity(update, total)
    assert state.fraction_clipped == np.float32(info.fraction_clipped)


def no_gradient(params, x):
    return 0.0 * (sum(jnp.sum(w) for w in jax.tree.leaves(params)) + x)


BIG = {"a": jnp.asarray(np.zeros(20000)), "b": jnp.asarray(np.zeros(20000)), "held": jnp.asarray(np.zeros(5))}


@pytest.mark.parametrize(
    ("of", "examples"),
    covering([({"a": 3.0, "b": 4.0, "held": 7.0}, 5.0), (automatic, 0.5), (2.0, 2.0)], [2, 0]),
)
def test_the_noise_is_a_multiple_of_what_one_example_can_add(key, of, examples):
    """Of parts with norms of their own that is the norm of the norms, of the leaves that count; on every leaf alike."""
    clip_norm, bound = of
    rule = private(key, no_gradient, clip_norm=clip_norm, noise_multiplier=1.5, wrt=["a", "b"])
    update, _ = step(rule, BIG, (jnp.ones(examples),))
    for name in "ab":
        np.testing.assert_allclose(np.std(update[name]), 1.5 * bound, rtol=0.03)
    assert not np.any(update["held"])


KINDS = {"number": 0.5, "per layer": PER_LAYER, "automatic": automatic, "shameless": shameless}
BOUNDS = {"number": 0.5, "per layer": np.sqrt(0.3**2 + 0.4**2 + 1.2**2 + 0.1**2), "automatic": 0.5, "shameless": 0.25}


@pytest.mark.parametrize(("dtype", "kind"), in_turn(["float64", "float32", "bfloat16", "float16"], KINDS))
def test_one_example_never_adds_more_than_the_sensitivity(key, dtype, kind):
    """Whatever its size: the last of three is there, or is padding. The sums are read before they are rounded."""
    params = jax.tree.map(lambda w: w.astype(dtype), PROBLEM.params)
    rule = private(key, clip_norm=KINDS[kind], accumulate_every=2, optimizer=optax.identity())

    @jax.jit
    def gathered(batch, padding):
        return rule.update(None, rule.init(params), params, batch=batch, is_padding=padding)[1].gathered.total

    changes = []
    for size in (1e-3, 1.0, 30.0, 1e4):
        batch = tuple(jnp.asarray(size * d[:3], dtype) for d in PROBLEM.data)
        pair = [gathered(batch, jnp.array([False, False, gone])) for gone in (False, True)]
        change = jax.tree.map(lambda a, b: np.asarray(a, np.float64) - np.asarray(b, np.float64), *pair)
        changes.append(np.sqrt(sum(np.sum(leaf**2) for leaf in jax.tree.leaves(change))))
    assert max(changes) <= BOUNDS[kind] * (1 + 1e-5)
    assert max(changes) > 0.9 * BOUNDS[kind]


ADAPTIVE = {"clip_norm": 0.7, "target_quantile": 0.3, "clip_learning_rate": 0.5, "expected_batch_size": 6.0}


slopes = jax.jit(jax.vmap(jax.grad(mean_square), (None, 0, 0)))


def norms_of(params, batch):
    gradients = slopes(params, *batch)
    rows = [np.reshape(leaf, (len(leaf), -1)) for leaf in jax.tree.leaves(gradients)]
    return np.linalg.norm(np.concatenate(rows, axis=1), axis=1)


@pytest.mark.parametrize("calls", one_in(2, [1, 2], 1))
def test_the_norm_adapts_as_written_by_hand(key, calls):
    rule = private(key, **ADAPTIVE, accumulate_every=calls, optimizer=optax.sgd(0.5))
    params, state, norm, call = PROBLEM.params, rule.init(PROBLEM.params), 0.7, jax.jit(rule.update)
    norms = []
    for _ in range(3):
        fraction = np.mean([norms_of(params, PROBLEM.data) <= norm] * calls, axis=0).sum() * calls
        count = 7 * calls
        total, _ = clipped_sum(mean_square, params, *PROBLEM.data, clip_norm=norm)
        theirs = jax.tree.map(lambda w, g: w - 0.5 * calls * g / 6, params, total)
        for _ in range(calls):
            update, state = call(None, state, params, batch=PROBLEM.data)
            params = optax.apply_updates(params, update)
        assert_parity(params, theirs)
        noiseless = 0.5 + (fraction - count / 2) / 6
        norm *= np.exp(-0.5 * (noiseless - 0.3))
        norms.append(norm)
        np.testing.assert_allclose(state.clip_norm, norm, rtol=1e-12)
    assert len(set(norms)) == 3


def row(w, x):
    return w @ x


def test_the_norm_finds_its_quantile(key):
    """Norms from 0 to 3: after many steps 80 of 100 are below."""
    sizes = jnp.linspace(0.0, 3.0, 100)
    batch = (jnp.stack([sizes, 0 * sizes], axis=1),)
    rule = private(
        key, row, clip_norm=0.01, target_quantile=0.8, noise_multiplier=1.0, expected_batch_size=100.0, count_noise=3.0
    )
    w = jnp.ones(2)

    def call(state, _):
        _, state = rule.update(None, state, w, batch=batch)
        return state, state.clip_norm

    _, norms = jax.lax.scan(call, rule.init(w), length=200)
    assert abs(np.mean(norms[100:]) - 2.4) < 0.05


def of_keys(count, params, batch, **changes):
    """Return the update and the next norm for many keys."""

    def one(key):
        rule = private(key, **changes)
        update, state = rule.update(None, rule.init(params), params, batch=batch)
        return update, state.clip_norm

    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(7), count))


@pytest.mark.parametrize(("count_noise", "deviation"), one_in(2, [pytest.param(2.0, 2.0), pytest.param(None, 1.5)]))
def test_the_count_has_its_noise_and_the_gradients_have_more(count_noise, deviation):
    """z = 1.2 in all: the gradients get z / sqrt(1 - (z / 2 s)^2)."""
    w, batch = jnp.ones(100), (jnp.zeros((3, 100)),)
    changes = {"loss_fn": row, "clip_norm": 0.5, "target_quantile": 0.5, "clip_learning_rate": 0.1}
    updates, norms = of_keys(
        2000, w, batch, **changes, noise_multiplier=1.2, expected_batch_size=30.0, count_noise=count_noise
    )
    fractions = 0.5 - np.log(np.asarray(norms) / 0.5) / 0.1
    np.testing.assert_allclose(np.std(fractions) * 30, deviation, rtol=0.05)
    # none of the three was clipped
    np.testing.assert_allclose(np.mean(fractions), 0.5 + 1.5 / 30, atol=0.006)
    alone = 1.2 / np.sqrt(1 - (1.2 / (2 * deviation)) ** 2)
    np.testing.assert_allclose(np.std(updates) * 30 / 0.5, alone, rtol=0.01)
    assert abs(np.corrcoef(fractions, np.asarray(updates)[:, 0])[0, 1]) < 0.08


def test_one_example_moves_the_count_by_a_half(key):
    """Left whole, clipped, or not finite: the quantile cannot be moved by more."""
    w = jnp.ones(2)
    batch = (jnp.array([[0.1, 0.0], [5.0, 0.0], [jnp.nan, 0.0]]),)

    def log_norm(padding):
        rule = private(key, row, **ADAPTIVE)
        state = jax.jit(rule.update)(None, rule.init(w), w, batch=batch, is_padding=padding)[1]
        return np.log(state.clip_norm)

    nobody = log_norm(jnp.ones(3, bool))
    moved = [float(log_norm(jnp.arange(3) != i) - nobody) / 0.5 * 6 for i in range(3)]
    np.testing.assert_allclose(moved, [-0.5, 0.5, 0.5], rtol=1e-9)


def test_an_empty_batch_moves_the_norm_by_noise_alone(key):
    w, batch = jnp.ones(2), (jnp.zeros((0, 2)),)
    _, state = step(private(key, row, **ADAPTIVE), w, batch)
    np.testing.assert_allclose(state.clip_norm, 0.7 * np.exp(-0.5 * 0.2), rtol=1e-12)


def test_the_accountants_know_both_mechanisms_as_one():
    """The epsilon of docs/per_example.md, of one mechanism, and of gradients and count apart."""
    dp_accounting = pytest.importorskip("dp_accounting")
    from dp_accounting.rdp import RdpAccountant

    def epsilon(*mechanisms):
        step = dp_accounting.ComposedDpEvent([dp_accounting.GaussianDpEvent(m) for m in mechanisms])
        accountant = RdpAccountant()
        accountant.compose(dp_accounting.PoissonSampledDpEvent(0.01, step), 1000)
        return accountant.get_epsilon(1e-5)

    z, s = 1.1, 5.0
    apart = epsilon((z**-2 - (2 * s) ** -2) ** -0.5, 2 * s)
    np.testing.assert_allclose(apart, epsilon(z), rtol=1e-6)
    assert f"{epsilon(z):.2f}" == "1.71"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"noise_multiplier": None}, TypeError, "noise_multiplier must be a real number; got a NoneType"),
        ({"expected_batch_size": None}, TypeError, "expected_batch_size must be a real number; got a NoneType"),
        ({"loss_fn": {"w": 1.0}}, TypeError, "dp_aggregate: loss_fn must be a function; got a dict"),
        ({"target_quantile": -0.5}, ValueError, "target_quantile must not be negative"),
        (
            {"target_quantile": 50},
            ValueError,
            "target_quantile must be from 0 to 1, such as 0.5 for the median; got 50",
        ),
        ({"target_quantile": "median"}, TypeError, "target_quantile must be a real number; got a str"),
        ({"target_quantile": 0.5, "clip_norm": PER_LAYER}, ValueError, "adapts one clip_norm: .* got a dict"),
        ({"target_quantile": 0.5, "clip_norm": automatic}, ValueError, "adapts one clip_norm: .* got a function"),
        ({"target_quantile": 0.5, "clip_norm": 0.0}, ValueError, "clip_norm must be positive and finite"),
        ({"target_quantile": 0.5, "clip_norm": np.inf}, ValueError, "clip_norm must be positive and finite"),
        ({"target_quantile": 0.5, "count_noise": -1.0}, ValueError, "count_noise must not be negative"),
        ({"target_quantile": 0.5, "noise_multiplier": 1.0}, ValueError, r"count_noise must be more than .* got 0\.05"),
        ({"target_quantile": 0.5, "clip_learning_rate": -1}, ValueError, "clip_learning_rate must not be negative"),
        ({"clip_norm": lambda n: 1 / n, "noise_multiplier": 1.0}, ValueError, "set its attribute, as in `scale.sens"),
        ({"clip_norm": {"layer0": -1.0}}, ValueError, r"clip_norm\['layer0'\] must not be negative"),
        ({"clip_norm": {"layer0": "x"}}, TypeError, r"clip_norm\['layer0'\] must be a real number; got a str"),
        ({"clip_norm": PER_LAYER | {"layer0": np.inf}, "noise_multiplier": 1.0}, ValueError, "must be finite where"),
        ({"noise_multiplier": np.ones((), jnp.bfloat16)}, ValueError, "hyperparam_dtype=jnp.float32"),
        ({"expected_batch_size": "8"}, TypeError, "expected_batch_size must be a real number"),
        ({"key": 0}, TypeError, r"key must be one random key, such as jax.random.key\(0\); got a int"),
        ({"key": np.zeros(2)}, TypeError, r"key must be one random key, .* got float64\[2\]"),
        ({"optimizer": "adam"}, TypeError, "optimizer must be an optax transformation"),
    ],
)
def test_rejects_what_makes_no_private_step(key, changes, error, message):
    with pytest.raises(error, match=message):
        private(**{"key": key, **changes})


@pytest.mark.parametrize("examples", [7, 0])
def test_rejects_norms_that_are_no_prefix(key, examples):
    batch = jax.tree.map(lambda rows: rows[:examples], PROBLEM.data)
    with pytest.raises(ValueError, match="clip_norm must be a number, a prefix of params"):
        step(private(key, clip_norm={"wrong": 1.0}, noise_multiplier=1.0), batch=batch)


def test_a_traced_count_noise_that_is_too_small_shows(key):
    """It cannot be refused, and must not be too little noise."""

    def update(count_noise):
        rule = private(key, **ADAPTIVE, noise_multiplier=1.0, count_noise=count_noise)
        return step(rule)[0]

    for noise, seen in ((0.4, np.isnan), (0.6, np.isfinite)):
        assert all(np.all(seen(leaf)) for leaf in jax.tree.leaves(jax.jit(update)(noise)))
