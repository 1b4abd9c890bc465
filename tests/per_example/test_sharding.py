"""Losses of many kinds on four devices: `jax.shard_map` with its default checks, and Explicit axes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxgrad import per_example
from tests.bridge import assert_parity
from tests.turns import covering, one_in

pytestmark = pytest.mark.usefixtures("compiled_quickly")

KEY, RNG = jax.random.key(0), np.random.default_rng(0)
PARAMS = {"w": jnp.asarray(RNG.normal(size=(3, 4))), "v": jnp.asarray(RNG.normal(size=4))}
X, Y = jnp.asarray(RNG.normal(size=(8, 3))), jnp.asarray(RNG.normal(size=8))


def dense(p, x, y):
    return jnp.sum((jnp.tanh(x @ p["w"]) @ p["v"] - y) ** 2)


def recurrent(p, x, y):
    def step(state, row):
        state = jnp.tanh(state @ p["w"][:3, :3] + row @ p["w"][:, :3])
        return state, state

    return jnp.sum(lax.scan(step, 0 * x, jnp.stack([x, x * 2, x - 1]))[1]) * y + jnp.sum(p["v"])


def lookup(p, x, y):
    ids = jnp.abs(x * 3).astype(jnp.uint8) % 3
    return jnp.sum(jnp.tanh(p["w"][ids] @ p["v"])) * y


def attention(p, x, y):
    h = jnp.stack([x, 2 * x, x**2]) @ p["w"]
    return jnp.sum(jnp.tanh(jax.nn.softmax(h @ h.T) @ h) @ p["v"]) * y


def branching(p, x, y):
    return lax.cond(y > 0, lambda: jax.checkpoint(dense)(p, x, y), lambda: dense(p, 2 * x, y))


LOSSES = (recurrent, dense, lookup, attention, branching)


def by_median(norms):
    """A scale that depends on the norms of the whole batch."""
    return 1 / (norms + jnp.nanmedian(norms))


SUMS = {
    "moments": per_example.moments,
    "noise_scale": per_example.noise_scale,
    "weighted_sum": lambda loss, p, x, y, **o: per_example.weighted_sum(loss, p, x, y, weights=y, **o),
    "padded": lambda loss, p, x, y, **o: per_example.clipped_sum(loss, p, x, y, clip_norm=0.5, is_padding=y > 1, **o),
    "in chunks": lambda loss, p, x, y, **o: per_example.clipped_sum(loss, p, x, y, clip_norm=0.5, microbatch=1, **o),
    "by median": lambda loss, p, x, y, **o: per_example.clipped_sum(loss, p, x, y, clip_norm=by_median, **o),
    "ghost": lambda loss, p, x, y, **o: per_example.clipped_sum(loss, p, x, y, clip_norm=0.5, mode="ghost", **o),
}
ROWS = {"norms": per_example.norms, "gradients": per_example.gradients, "gram": per_example.gram}


CALLS = (*ROWS, *SUMS)


def everything(loss, p, x, y, names=CALLS, **options):
    """Return what belongs to examples, and what is one for the batch, of some functions."""
    rows = {} if options else {name: call(loss, p, x, y) for name, call in ROWS.items() if name in names}
    return rows, {name: call(loss, p, x, y, **options) for name, call in SUMS.items() if name in names}


def of_calls(names):
    """Pair a loss with some of the functions: tests/contract/test_sharding.py has each alone. All of them are slow."""
    return [(recurrent, names), *(pytest.param(loss, CALLS, marks=pytest.mark.slow) for loss in LOSSES)]


@functools.cache
def on_one_device(loss, names):
    """What the batch gives on one device, which two tests compare with."""
    return jax.device_get(jax.jit(lambda p, x, y: everything(loss, p, x, y, names))(PARAMS, X, Y))


def vary(tree):
    return jax.tree.map(
        lambda leaf: leaf if "d" in jax.typeof(leaf).manual_axis_type.varying else lax.pcast(leaf, "d", to="varying"),
        tree,
    )


@pytest.mark.parametrize(("loss", "names"), of_calls(("norms", "moments", "padded", "ghost")))
def test_each_device_has_its_own_examples(loss, names):
    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))

    @jax.jit
    @jax.shard_map(mesh=mesh, in_specs=(P(), P("d"), P("d")), out_specs=P("d"))
    def spread(p, x, y):
        return jax.tree.map(lambda leaf: leaf[None], vary(everything(loss, p, x, y, names)))

    alone = jax.jit(lambda p, x, y: everything(loss, p, x, y, names))
    want = [alone(PARAMS, X[i : i + 2], Y[i : i + 2]) for i in range(0, 8, 2)]
    assert_parity(spread(PARAMS, X, Y), jax.tree.map(lambda *leaves: jnp.stack(leaves), *want))


@pytest.mark.parametrize(("loss", "names"), of_calls(("gradients", "noise_scale", "in chunks", "by median")))
def test_sums_over_all_devices(loss, names):
    """The rows of clipped sums stay those of the device, and everything else is known to be the same on all."""
    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))
    want = on_one_device(loss, names)[1]
    specs = jax.tree.map(lambda leaf: P("d") if leaf.shape == (8,) else P(), want)

    @jax.jit
    @jax.shard_map(mesh=mesh, in_specs=(P(), P("d"), P("d")), out_specs=specs)
    def spread(p, x, y):
        return everything(loss, p, x, y, names, axis_name="d")[1]

    assert_parity(spread(PARAMS, X, Y), want)


@pytest.mark.parametrize(("loss", "names"), of_calls(("gram", "weighted_sum", "in chunks")))
def test_explicit_axes(loss, names):
    mesh = jax.make_mesh((4,), ("d",))
    want = on_one_device(loss, names)
    params, (x, y) = (jax.device_put(t, NamedSharding(mesh, s)) for t, s in ((PARAMS, P()), ((X, Y), P("d"))))
    with jax.set_mesh(mesh):
        assert_parity(jax.jit(lambda p, x, y: everything(loss, p, x, y, names))(params, x, y), want)
    assert_parity(per_example.clipped_sum(loss, params, x, y, clip_norm=0.5, microbatch=1), want[1]["in chunks"])


def test_private_noise_is_drawn_once_for_all_devices():
    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))
    options = {"clip_norm": 1.0, "noise_multiplier": 1.0, "expected_batch_size": 8.0, "key": KEY}

    def update(p, x, y, **more):
        private = per_example.dp_aggregate(dense, **options, **more)
        updates, state = private.update(None, private.init(p), p, batch=(x, y))
        return updates, state.fraction_clipped

    spread = jax.shard_map(
        lambda p, x, y: update(p, x, y, axis_name="d"), mesh=mesh, in_specs=(P(), P("d"), P("d")), out_specs=P()
    )
    assert_parity(jax.jit(spread)(PARAMS, X, Y), jax.jit(update)(PARAMS, X, Y))


BATCH, SAME = (P(), P("d"), P("d")), P()


def over_line(fun, *inputs, specs=BATCH, out=SAME):
    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))
    return jax.jit(jax.shard_map(fun, mesh=mesh, in_specs=specs, out_specs=out))(*inputs)


@pytest.mark.parametrize("mode", one_in(2, ["auto", "ghost"], 1))
@pytest.mark.parametrize("shared_labels", one_in(2, [False, True]))
def test_mapped_inside_of_shard_map(mode, shared_labels):
    """A mapped conditional casts what it is handed, and does not look inside of its branches."""

    def clipped(p, x, y, **options):
        def of_scale(s):
            return per_example.clipped_sum(dense, p, s * x, y, clip_norm=0.5, mode=mode, **options)[0]

        return jax.vmap(of_scale)(jnp.array([1.0, 2.0]))

    mine, all_of_them, spec = (Y[:2], jnp.tile(Y[:2], 4), P()) if shared_labels else (Y, Y, P("d"))
    got = over_line(lambda *g: clipped(*g, axis_name="d"), PARAMS, X, mine, specs=(P(), P("d"), spec))
    assert_parity(got, jax.jit(clipped)(PARAMS, X, all_of_them))


def test_values_of_a_loss_that_branches():
    got = over_line(lambda p, x, y: per_example.values(branching, p, x, y), PARAMS, X, Y, out=P("d"))
    assert_parity(got, per_example.values(branching, PARAMS, X, Y))


def test_every_device_trains_privately_by_itself():
    """The state has the types that a loop keeps."""

    def train(p, x, y):
        private = per_example.dp_aggregate(dense, clip_norm=1.0, noise_multiplier=1.0, expected_batch_size=2.0, key=KEY)

        def step(carry, _):
            p, state = carry
            updates, state = private.update(None, state, p, batch=(x, y))
            return (jax.tree.map(jnp.subtract, p, updates), state), None

        return lax.scan(step, (p, private.init(p)), None, length=2)[0][0]

    def device(p, x, y):
        return jax.tree.map(lambda leaf: leaf[None], train(vary(p), x, y))

    want = [jax.jit(train)(PARAMS, X[i : i + 2], Y[i : i + 2]) for i in range(0, 8, 2)]
    got = over_line(device, PARAMS, X, Y, out=P("d"))
    assert_parity(got, jax.tree.map(lambda *leaves: jnp.stack(leaves), *want))


OPTIONS = {"clip_norm": 1.0, "noise_multiplier": 1.0, "expected_batch_size": 8.0, "key": KEY}
OF_DP = {
    "per part": {"clip_norm": {name: 0.5 + i for i, name in enumerate(sorted(PARAMS))}},
    "a quantile": {"target_quantile": 0.3, "count_noise": 2.0},
    "several calls": {"accumulate_every": 2, "optimizer": optax.sgd(0.5, momentum=0.9)},
    "both": {"accumulate_every": 2, "optimizer": optax.identity(), "target_quantile": 0.3, "count_noise": 2.0},
}


@pytest.mark.parametrize("kind", one_in(4, OF_DP, 3))
def test_private_steps_over_devices(kind):
    """Four devices take the step of one, its count and its noise too, for several steps in a loop."""

    def train(p, x, y, **more):
        private = per_example.dp_aggregate(dense, **{**OPTIONS, **OF_DP[kind]}, **more)

        def step(carry, _):
            p, state = carry
            updates, state = private.update(None, state, p, batch=(x, y))
            return (jax.tree.map(jnp.subtract, p, updates), state), state.fraction_clipped

        (p, state), clipped = lax.scan(step, (p, private.init(p)), None, length=4)
        return p, state.clip_norm, clipped

    got = over_line(lambda *g: train(*g, axis_name="d"), PARAMS, X, Y)
    assert_parity(got, jax.jit(train)(PARAMS, X, Y))


@pytest.mark.parametrize("kind", one_in(4, OF_DP))
def test_every_device_takes_private_steps_by_itself(kind):
    def train(p, x, y):
        private = per_example.dp_aggregate(dense, **{**OPTIONS, "expected_batch_size": 2.0, **OF_DP[kind]})

        def step(carry, _):
            p, state = carry
            updates, state = private.update(None, state, p, batch=(x, y))
            return (jax.tree.map(jnp.subtract, p, updates), state), None

        return lax.scan(step, (p, private.init(p)), None, length=4)[0][0]

    def device(p, x, y):
        return jax.tree.map(lambda leaf: leaf[None], train(vary(p), x, y))

    want = [jax.jit(train)(PARAMS, X[i : i + 2], Y[i : i + 2]) for i in range(0, 8, 2)]
    assert_parity(over_line(device, PARAMS, X, Y, out=P("d")), jax.tree.map(lambda *leaves: jnp.stack(leaves), *want))


def narrow(p, x, y):
    """A loss whose one backward pass is narrower than the sum: weighted examples are summed from their factors."""
    return jnp.sum(jnp.tanh(x.astype(jnp.bfloat16) @ p["w"].astype(jnp.bfloat16)).astype(jnp.float64)) * y


@pytest.mark.parametrize(("loss", "placed"), covering([dense, narrow], ["batch and weights", "weights"]))
def test_weights_that_vary_over_other_axes_than_the_parameters(loss, placed):
    """Each column of a 2x2 mesh has parameters of its own, each row weights of its own, and examples or not."""
    mesh = jax.make_mesh((2, 2), ("d", "m"), axis_types=(AxisType.Auto,) * 2)
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf / 2]), PARAMS)
    weights = jnp.linspace(-1.0, 2.0, 8)
    rows = slice(None) if placed == "weights" else None

    def device(p, x, y, w):
        own = jax.tree.map(lambda leaf: leaf[0], p)
        data = (x[:4], y[:4]) if rows else (x, y)
        return jax.tree.map(lambda leaf: leaf[None, None], per_example.weighted_sum(loss, own, *data, weights=w))

    of_batch = P() if rows else P("d")
    specs = (P("m"), of_batch, of_batch, P("d"))
    got = jax.jit(jax.shard_map(device, mesh=mesh, in_specs=specs, out_specs=P("d", "m")))(both, X, Y, weights)
    for i in range(2):
        for j in range(2):
            mine = slice(0, 4) if rows else slice(4 * i, 4 * i + 4)
            own = jax.tree.map(lambda leaf, j=j: leaf[j], both)
            want = per_example.weighted_sum(loss, own, X[mine], Y[mine], weights=weights[4 * i : 4 * i + 4])
            assert_parity(jax.tree.map(lambda leaf, i=i, j=j: leaf[i, j], got), want)
