"""What a loss returns beside its value: stacked over the examples, from the one forward, in every mode and place."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxgrad import per_example
from tests.bridge import assert_parity
from tests.turns import one_in

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

KEY, RNG = jax.random.key(0), np.random.default_rng(0)
PARAMS = {
    "w": jnp.asarray(RNG.normal(size=(3, 4))),
    "v": jnp.asarray(RNG.normal(size=(4, 2))),
    "table": jnp.asarray(RNG.normal(size=(5, 3))),
}
X, IDS, LABELS = jnp.asarray(RNG.normal(size=(8, 2, 3))), jnp.asarray(np.arange(8) % 5), jnp.asarray(np.arange(8) % 2)
BATCH = (X, IDS, LABELS)


def logits_of(p, x, i):
    return jnp.tanh((x + p["table"][i][None]) @ p["w"]).mean(0) @ p["v"]


def twice_if(label):
    return 1.0 + label.astype(jnp.float64)


def classify(p, x, i, label):
    """A loss that hands out no more than it computes anyway."""
    logits = logits_of(p, x, i)
    return -jax.nn.log_softmax(logits)[label], logits


def everything(p, x, i, label):
    """Leaves of every kind that the world puts there."""
    loss, logits = classify(p, x, i, label)
    return loss, {
        "logits": logits,
        "right": jnp.argmax(logits) == label,
        "label": label.astype(jnp.int8),
        "narrow": logits.astype(jnp.bfloat16),
        "none": None,
        "empty": jnp.zeros((0, 2)),
        "same for all": (jnp.arange(3, dtype=jnp.uint8), 1.0),
        "key": jax.random.key(3),
        "example": x,
        "weight": p["v"],
    }


def recurrent(p, x, i, label):
    def step(state, row):
        state = jnp.tanh(state @ p["w"][:3, :3] + row @ p["w"][:, :3])
        return state, (state, jnp.argmax(state))

    last, rows = lax.scan(step, p["table"][i], jnp.concatenate([x, 2 * x]))
    return jnp.sum(last**2) * twice_if(label), rows


def branching(p, x, i, label):
    kept = jax.checkpoint(everything)
    return lax.cond(label > 0, lambda: kept(p, x, i, label), lambda: everything(p, 2 * x, i, label))


def convolution(p, x, i, label):
    kernel = p["w"].reshape(1, 3, 4)
    image = lax.conv_general_dilated(x[None], kernel, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))
    return jnp.sum(jnp.tanh(image)[0] @ p["v"]) * twice_if(label), image


@jax.custom_vjp
def cubed(x):
    return x**3


cubed.defvjp(lambda x: (x**3, x), lambda x, g: (3 * x**2 * g,))


def reverse_only(p, x, i, label):
    logits = cubed(logits_of(p, x, i))
    return jnp.sum(logits) * twice_if(label), logits


def through_float16(p, x, i, label):
    """A backward pass that rounds: there sums are made by book-keeping."""
    logits = logits_of(jax.tree.map(lambda leaf: leaf.astype(jnp.float16), p), x.astype(jnp.float16), i)
    return jnp.sum(logits.astype(jnp.float64)) * twice_if(label), {"logits": logits, "label": label}


LOSSES = {
    f.__name__: f for f in (classify, everything, recurrent, branching, convolution, reverse_only, through_float16)
}


@functools.cache
def without_aux(loss):
    return lambda *args: loss(*args)[0]


def by_norm(norms):
    return 1 / (norms + 1)


def product(loss, p, *batch, **options):
    return per_example.empirical_fisher_product(loss, p, jax.tree.map(jnp.cos, p), *batch, **options)


def clipped(**fixed):
    return lambda loss, p, *batch, **options: per_example.clipped_sum(loss, p, *batch, **fixed, **options)


WEIGHTS = jnp.asarray(np.linspace(-1.0, 1.0, 8))
CALLS = {
    "gradients": per_example.gradients,
    "norms": per_example.norms,
    "norms, leaf by leaf, in chunks": functools.partial(per_example.norms, per_leaf=True, microbatch=3),
    "weighted_sum": lambda *a, **o: per_example.weighted_sum(*a, weights=WEIGHTS[: len(a[-1])], **o),
    "moments": per_example.moments,
    "moments, in chunks": functools.partial(per_example.moments, microbatch=3),
    "noise_scale": per_example.noise_scale,
    "gram": per_example.gram,
    "random_projection": lambda *a, **o: per_example.random_projection(*a, key=KEY, dim=3, **o),
    "empirical_fisher": per_example.empirical_fisher,
    "empirical_fisher_product": product,
    "clipped_sum": clipped(clip_norm=0.3),
    "clipped_sum, ghost": clipped(clip_norm=0.3, mode="ghost"),
    "clipped_sum, vmap, in chunks": clipped(clip_norm=0.3, mode="vmap", microbatch=3),
    "clipped_sum, book-keeping, in chunks": clipped(clip_norm=0.3, mode="book-keeping", microbatch=3),
    "clipped_sum, by the norms, in chunks": clipped(clip_norm=by_norm, microbatch=3),
}


def plain(loss, p, *batch):
    """Return the aux of plain calls of the loss, one after the other."""
    one_by_one = jax.jit(lambda *given: lax.map(lambda one: loss(given[0], *one)[1], given[1:]))
    return one_by_one(p, *batch)


def assert_same(got, want):
    """Compare trees that may hold random keys, and whose integers and bools must be equal."""
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        x, y = np.asarray(_data(a)), np.asarray(_data(b))
        if jnp.issubdtype(a.dtype, jnp.floating):
            eps = float(jnp.finfo(a.dtype).eps)
            assert np.allclose(x.astype(float), y.astype(float), rtol=4 * eps, atol=4 * eps)
        else:
            assert np.array_equal(x, y)


@pytest.mark.parametrize("call", one_in(8, CALLS))  # tests/contract/test_aux.py has the aux of every function
@pytest.mark.parametrize("loss", [pytest.param(n, marks=() if n == "everything" else pytest.mark.slow) for n in LOSSES])
def test_aux_is_that_of_plain_calls_and_the_result_is_as_it_was(call, loss):
    result, aux = CALLS[call](LOSSES[loss], PARAMS, *BATCH, has_aux=True)
    assert_same(aux, plain(LOSSES[loss], PARAMS, *BATCH))
    assert_parity(result, CALLS[call](without_aux(LOSSES[loss]), PARAMS, *BATCH), dtypes=True)


@pytest.mark.parametrize(
    ("loss", "mode"),
    [
        pytest.param(loss, mode, marks=[] if i % 6 == k > 0 else [pytest.mark.slow])
        for i, loss in enumerate(n for n in LOSSES if n != "everything")
        for k, mode in enumerate(["auto", "ghost", "vmap"])
    ],
)
def test_losses_of_many_kinds_in_every_mode(loss, mode):
    call = clipped(clip_norm=0.5, mode=mode, microbatch=3)
    (total, info), aux = call(LOSSES[loss], PARAMS, *BATCH, has_aux=True)
    assert_same(aux, plain(LOSSES[loss], PARAMS, *BATCH))
    assert_parity((total, info), call(without_aux(LOSSES[loss]), PARAMS, *BATCH), dtypes=True)


@pytest.mark.slow
@pytest.mark.parametrize("call", one_in(2, CALLS))
def test_there_is_no_second_forward(call):
    """What a program does not need is left out of it before its operations are counted."""

    def count(loss, **options):
        run = jax.jit(lambda p, *batch: CALLS[call](loss, p, *batch, **options))
        text = run.lower(PARAMS, *BATCH).as_text()
        return text.count(".tanh "), text.count(".dot_general "), text.count(".exponential ")

    with_it, alone = count(classify, has_aux=True), count(without_aux(classify))
    assert with_it == alone
    assert with_it[0] > 0


def flops(call, loss, p, *batch, **options):
    run = jax.jit(lambda p, *batch: call(loss, p, *batch, **options))
    return run.lower(p, *batch).compile().cost_analysis()["flops"]


@pytest.mark.parametrize("mode", one_in(3, ["book-keeping", "ghost", "vmap"]))
@pytest.mark.parametrize("microbatch", one_in(2, [None, 4], 1))
def test_flops_do_not_grow(mode, microbatch):
    call = clipped(clip_norm=0.3, mode=mode, microbatch=microbatch)
    alone = flops(call, without_aux(classify), PARAMS, *BATCH)
    # a chunk's rows are copied to their place, which XLA counts
    assert flops(call, classify, PARAMS, *BATCH, has_aux=True) <= alone * (1.0 if microbatch is None else 1.01)


@pytest.mark.slow
@pytest.mark.parametrize("mode", one_in(2, ["auto", "ghost"]))
def test_explicit_axes(mode):
    mesh = jax.make_mesh((4,), ("d",))
    params = jax.device_put(PARAMS, NamedSharding(mesh, P()))
    batch = jax.device_put(BATCH, NamedSharding(mesh, P("d")))
    call = clipped(clip_norm=0.3, mode=mode)
    _, aux = call(everything, params, *batch, has_aux=True)
    assert_same(jax.device_get(jax.tree.map(_data, aux)), jax.tree.map(_data, plain(everything, PARAMS, *BATCH)))
    assert all(leaf.sharding.spec[0] == "d" for leaf in jax.tree.leaves(aux))
    assert flops(call, classify, params, *batch, has_aux=True) <= flops(call, without_aux(classify), params, *batch)


def _data(leaf):
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


@pytest.mark.slow
@pytest.mark.parametrize("mode", one_in(3, ["auto", "ghost", "vmap"], 1))
def test_a_device_of_shard_map_has_its_own_examples(mode):
    """With ``axis_name`` too, where the sum is that of all."""
    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))

    def call(loss, p, *batch, **options):
        over_all = jax.shard_map(
            lambda p, *batch: clipped(clip_norm=0.3, mode=mode, axis_name="d")(loss, p, *batch, **options),
            mesh=mesh,
            in_specs=(P(), P("d"), P("d"), P("d")),
            out_specs=((P(), per_example.ClippedInfo(P("d"), P("d"), P(), P())), P("d"))
            if options
            else (P(), per_example.ClippedInfo(P("d"), P("d"), P(), P())),
        )
        return over_all(p, *batch)

    result, aux = jax.jit(lambda *a: call(everything, *a, has_aux=True))(PARAMS, *BATCH)
    assert_same(aux, plain(everything, PARAMS, *BATCH))
    assert_parity(result, clipped(clip_norm=0.3)(without_aux(everything), PARAMS, *BATCH))
    assert flops(call, classify, PARAMS, *BATCH, has_aux=True) <= flops(call, without_aux(classify), PARAMS, *BATCH)


def test_a_loss_that_has_only_gradients_in_shard_map():
    """They are formed in a loop over chunks, whose rows vary as the examples do."""

    def random_projection(p, *batch):
        return per_example.random_projection(reverse_only, p, *batch, key=KEY, dim=3, has_aux=True)

    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))
    spread = jax.shard_map(random_projection, mesh=mesh, in_specs=(P(), P("d"), P("d"), P("d")), out_specs=P("d"))
    assert_parity(jax.jit(spread)(PARAMS, *BATCH), random_projection(PARAMS, *BATCH))


def test_padding_has_an_aux_and_adds_nothing():
    padded = jnp.arange(8) > 5
    call = clipped(clip_norm=0.3, is_padding=padded, microbatch=5)
    (total, info), aux = call(classify, PARAMS, *BATCH, has_aux=True)
    assert_same(aux, plain(classify, PARAMS, *BATCH))
    assert_parity(total, clipped(clip_norm=0.3)(without_aux(classify), PARAMS, *(leaf[:6] for leaf in BATCH))[0])
    assert info.losses[6:].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("call", one_in(10, [name for name in CALLS if name != "noise_scale"]))
def test_a_batch_of_one(call):
    one = tuple(leaf[:1] for leaf in BATCH)
    result, aux = CALLS[call](everything, PARAMS, *one, has_aux=True)
    assert_same(aux, plain(everything, PARAMS, *one))
    assert_parity(result, CALLS[call](without_aux(everything), PARAMS, *one), dtypes=True)


def test_a_narrow_aux_does_not_change_how_a_sum_is_made():
    """Whether the loss rounds is asked of the loss alone."""

    def narrow(p, x, i, label):
        loss, logits = classify(p, x, i, label)
        return loss, logits.astype(jnp.float16) * 2

    def text(loss, **options):
        run = jax.jit(lambda p, *batch: CALLS["weighted_sum"](loss, p, *batch, **options))
        return run.lower(PARAMS, *BATCH).as_text()

    assert text(narrow, has_aux=True).count(".dot_general ") == text(without_aux(narrow)).count(".dot_general ")


def test_gradients_of_one_chunk_serve_all_directions():
    """A loss that has only gradients is run once, however many directions there are."""

    def random_projection(dim):
        run = jax.jit(lambda p, *b: per_example.random_projection(reverse_only, p, *b, key=KEY, dim=dim, has_aux=True))
        text = run.lower(PARAMS, *BATCH).as_text()
        before, loop = text.split("stablehlo.while", 1)
        return before.count(".tanh "), loop.count(".tanh ")

    assert random_projection(3) == random_projection(30)
    assert random_projection(3)[0] > 0
    assert random_projection(3)[1] == 0


def test_aux_is_not_differentiated():
    """Its slope may be infinite, or missing, where the loss is smooth."""

    def rooted(p, x, i, label):
        loss, logits = classify(p, x, i, label)
        return loss, jnp.sqrt(0 * logits)

    (total, _), aux = clipped(clip_norm=0.3)(rooted, PARAMS, *BATCH, has_aux=True)
    assert_parity(total, clipped(clip_norm=0.3)(without_aux(rooted), PARAMS, *BATCH)[0])
    assert not aux.any()


def test_explain_takes_such_a_loss():
    with_it = per_example.explain(classify, PARAMS, *BATCH, has_aux=True)
    assert with_it == per_example.explain(without_aux(classify), PARAMS, *BATCH)


REFUSED = {
    "a pair without has_aux": (classify, {}, TypeError, r"got a tuple: return the loss alone, or pass has_aux=True"),
    "no pair": (
        without_aux(classify),
        {"has_aux": True},
        TypeError,
        r"must return the pair \(loss, aux\), since has_aux=True; got float64\[\]",
    ),
    "three": (
        lambda *args: (*classify(*args), 1.0),
        {"has_aux": True},
        TypeError,
        r"must return the pair \(loss, aux\), since has_aux=True; got a tuple of 3",
    ),
    "a loss of many numbers": (
        lambda *args: classify(*args)[::-1],
        {"has_aux": True},
        ValueError,
        r"(?s)must return a scalar.*float64\[2\].*takes ONE example",
    ),
    "a batched loss": (
        lambda p, x, i, label: (jnp.mean(x[:, 0, :]), x),
        {"has_aux": True},
        IndexError,
        r"takes ONE example, without the leading axis",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("call", ["gradients", "norms", "random_projection", "empirical_fisher", "clipped_sum, ghost"])
def test_refusals(call, name):
    loss, options, error, match = REFUSED[name]
    with pytest.raises(error, match=match):
        CALLS[call](loss, PARAMS, *BATCH, **options)


def test_every_function_of_a_loss_takes_it():
    exempt = {"values": "its function returns any tree", "dp_aggregate": "tested in test_dp_aggregate.py"}
    for name in set(per_example.__all__) - set(exempt):
        function = getattr(per_example, name)
        if not inspect.isclass(function):
            assert "has_aux" in inspect.signature(function).parameters, name
            assert name == "explain" or any(call.startswith(name) for call in CALLS), name
