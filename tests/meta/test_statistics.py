"""BatchNorm inside of the inner loop, in flax linen and NNX: which examples a prediction depends on, in each mode."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxgrad.meta import adapt, first_order_gradient, value_and_maml_gradient
from tests.bridge import assert_parity, random_like
from tests.turns import one_in

MODES = ("frozen", "transductive", "carried")
SGD = optax.sgd(0.1)
_rng = np.random.default_rng(0)
SUPPORT = jnp.asarray(_rng.normal(size=(2, 4, 3))), jnp.asarray(_rng.normal(size=(2, 4, 1)))
QUERY = jnp.asarray(_rng.normal(size=(2, 5, 3))), jnp.asarray(_rng.normal(size=(2, 5, 1)))


@pytest.fixture(autouse=True)
def _promotion_of_flax():
    """Flax computes variances with weak types and axes of its own."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


class Normed(nn.Module):
    """A hidden layer with BatchNorm."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.Dense(4, param_dtype=jnp.float64)(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.8, param_dtype=jnp.float64)(x)
        return nn.Dense(1, param_dtype=jnp.float64)(jnp.tanh(x))


LINEN = Normed()
with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
    _shapes = jax.eval_shape(functools.partial(LINEN.init, train=False), jax.random.key(0), SUPPORT[0][0])
PARAMS = random_like(_shapes["params"], 0)
STATE = {"BatchNorm_0": {"mean": jnp.asarray(np.full(4, 0.1)), "var": jnp.asarray(np.full(4, 1.1))}}


def linen_loss(params, state, x, y, *, train):
    """The loss of a linen model as `meta` takes it; beside it the predictions."""
    given = {"params": params, "batch_stats": state}
    if train:
        prediction, changed = LINEN.apply(given, x, train=True, mutable=["batch_stats"])
        state = changed["batch_stats"]
    else:
        prediction = LINEN.apply(given, x, train=False)
    return jnp.mean((prediction - y) ** 2), (state, prediction)


class NormedNNX(nnx.Module):
    """The same network in NNX."""

    def __init__(self, rngs):
        self.first = nnx.Linear(3, 4, param_dtype=jnp.float64, rngs=rngs)
        self.norm = nnx.BatchNorm(4, momentum=0.8, param_dtype=jnp.float64, rngs=rngs)
        self.last = nnx.Linear(4, 1, param_dtype=jnp.float64, rngs=rngs)

    def __call__(self, x):
        return self.last(jnp.tanh(self.norm(self.first(x))))


GRAPH = nnx.graphdef(nnx.eval_shape(lambda: NormedNNX(nnx.Rngs(0))))


def nnx_loss(params, state, x, y, *, train):
    """The loss of an NNX model: the module is put together inside of it, and its state taken apart again."""
    model = nnx.merge(GRAPH, params, state, copy=True)  # its variables belong to this trace
    model.train() if train else model.eval()
    prediction = model(x)
    later = nnx.state(model, nnx.BatchStat)
    return jnp.mean((prediction - y) ** 2), (later, prediction)


def nnx_inputs():
    """Return the linen numbers as states of the NNX model."""
    _, params, state = nnx.split(NormedNNX(nnx.Rngs(0)), nnx.Param, nnx.BatchStat)
    dense = {"first": PARAMS["Dense_0"], "last": PARAMS["Dense_1"]}
    for name, leaves in {**dense, "norm": PARAMS["BatchNorm_0"]}.items():
        for key, leaf in leaves.items():
            params[name][key].set_value(leaf)
    for key, leaf in STATE["BatchNorm_0"].items():
        state["norm"][key].set_value(leaf)
    return params, state


def stopped_loss(params, state, x, y, *, train):
    """That of the linen model, whose statistics are handed on without a derivative, as NNX hands on its own."""
    value, (state, prediction) = linen_loss(params, state, x, y, train=train)
    return value, (jax.lax.stop_gradient(state), prediction)


def meta(statistics, support=SUPPORT, query=QUERY, loss=linen_loss):
    options = {"optimizer": SGD, "num_steps": 3, "state": STATE, "statistics": statistics, "has_aux": True}
    (value, predictions), gradient = value_and_maml_gradient(loss, PARAMS, support, query, **options)
    return value, predictions, gradient


@pytest.mark.parametrize("statistics", MODES)
def test_a_prediction_depends_on_the_other_queries_in_transductive_mode_alone(statistics):
    value, before, _ = meta(statistics)
    _, after, _ = meta(statistics, query=(QUERY[0].at[0, 1:].add(1.0), QUERY[1]))
    assert jnp.isfinite(value)
    own = jnp.abs(after - before)[0, 0]
    assert (own > 1e-3).all() if statistics == "transductive" else (own == 0).all()
    assert (after[1] == before[1]).all()  # nothing goes from task to task
    assert (jnp.abs(after - before)[0, 1:] > 1e-3).all()


@pytest.mark.parametrize("statistics", one_in(3, MODES, start=2))
def test_a_task_is_as_it_is_alone(statistics):
    """Neither the support of the other task nor the order of the two counts."""
    _, both, gradient = meta(statistics)
    flipped = [tuple(leaf[::-1] for leaf in data) for data in (SUPPORT, QUERY)]
    _, other, same = meta(statistics, *flipped)
    assert_parity(other, both[::-1])
    assert_parity(same, gradient)
    moved = SUPPORT[0].at[1].add(1.0), SUPPORT[1]
    assert (meta(statistics, support=moved)[1][0] == both[0]).all()


@pytest.mark.parametrize("statistics", one_in(3, MODES, start=2))
def test_is_the_loop_written_out(statistics):
    """The steps, the state they hand on, and the query, by hand on the second task."""
    train, state, params = statistics != "frozen", STATE, PARAMS

    @jax.jit
    def step(params, state, x, y):
        (_, (later, _)), slope = jax.value_and_grad(linen_loss, has_aux=True)(params, state, x, y, train=train)
        return jax.tree.map(lambda w, g: w - 0.1 * g, params, slope), later

    x, y = (leaf[1] for leaf in SUPPORT)
    for _ in range(3):
        params, later = step(params, state, x, y)
        state = later if statistics == "carried" else state
    query = [leaf[1] for leaf in QUERY]
    prediction = linen_loss(params, state, *query, train=statistics == "transductive")[1][1]
    assert_parity(meta(statistics)[1][1], prediction)
    options = {"optimizer": SGD, "num_steps": 3, "state": STATE, "statistics": statistics, "has_aux": True}
    got = adapt(linen_loss, PARAMS, (x, y), full_output=True, **options)
    assert_parity([got.params, got.state], [params, state])
    moved = [not bool(jnp.all(a == b)) for a, b in zip(*map(jax.tree.leaves, (got.state, STATE)), strict=True)]
    assert all(moved) if statistics == "carried" else not any(moved)


@pytest.mark.parametrize("statistics", one_in(3, MODES, start=1))
def test_an_nnx_model_gives_the_numbers_of_linen(statistics):
    params, state = nnx_inputs()
    options = {"optimizer": SGD, "num_steps": 3, "state": state, "statistics": statistics, "has_aux": True}
    (value, predictions), slope = value_and_maml_gradient(nnx_loss, params, SUPPORT, QUERY, **options)
    want_value, want_predictions, want = meta(statistics, loss=stopped_loss)
    assert_parity([value, predictions], [want_value, want_predictions])
    assert_parity(slope["first"]["kernel"].get_value(), want["Dense_0"]["kernel"])
    assert_parity(slope["norm"]["scale"].get_value(), want["BatchNorm_0"]["scale"])
    assert_parity(slope["last"]["bias"].get_value(), want["Dense_1"]["bias"])


def test_the_first_order_gradient_has_the_same_modes():
    options = {"optimizer": SGD, "num_steps": 3, "state": STATE, "statistics": "carried", "has_aux": True}
    _, predictions = first_order_gradient(linen_loss, PARAMS, SUPPORT, QUERY, **options)
    assert_parity(predictions, meta("carried")[1])


def masked(params, state, x, y, mask, *, train):
    """A loss of padded tasks: examples weigh by a mask, in the statistics too."""
    given = mask[:, None]
    hidden = x @ params["first"]
    mean = (hidden * given).sum(0) / given.sum()
    later = jax.tree.map(lambda old: 0.8 * old + 0.2 * mean, state)
    hidden = jnp.tanh(hidden - (mean if train else state))
    error = (hidden @ params["last"] - y) ** 2
    return (error * given).sum() / given.sum(), later if train else state


@pytest.mark.slow
@pytest.mark.parametrize("statistics", MODES)
def test_padded_tasks_with_a_mask_equal_the_ragged_ones(statistics):
    """One task has two examples, the other four; what fills up the first are numbers that would be seen."""
    rng = np.random.default_rng(1)
    params = {"first": jnp.asarray(rng.normal(size=(3, 4))), "last": jnp.asarray(rng.normal(size=(4, 1)))}
    mask = jnp.array([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    options = {"optimizer": SGD, "num_steps": 2, "state": jnp.zeros(4), "statistics": statistics}
    data = tuple(jnp.where(mask[..., None] == 1, leaf, 100.0) for leaf in SUPPORT)
    value, slope = value_and_maml_gradient(masked, params, (*data, mask), (*data, mask), **options)
    ragged = [tuple(leaf[t : t + 1, : (2, 4)[t]] for leaf in (*SUPPORT, mask)) for t in range(2)]
    alone = [value_and_maml_gradient(masked, params, task, task, **options) for task in ragged]
    assert_parity((value, slope), jax.tree.map(lambda a, b: (a + b) / 2, *alone))


def of_objects(rows):
    """Return what NumPy makes of ragged rows."""
    array = np.empty(len(rows), object)
    for place, row in enumerate(rows):
        array[place] = np.asarray(row)
    return array


@pytest.mark.parametrize(("kind", "error"), [(list, ValueError), (tuple, ValueError), (of_objects, TypeError)])
def test_refuses_tasks_of_unequal_shape_and_says_how_to_pad_them(kind, error):
    lists = kind([jnp.ones((2, 3)), jnp.ones((4, 3))]), kind([jnp.ones((2, 1)), jnp.ones((4, 1))])
    with pytest.raises(error, match=r"are padded to one shape and stacked, with a mask that the loss weighs"):
        value_and_maml_gradient(
            lambda p, x, y: jnp.sum(p["w"]), {"w": jnp.ones(2)}, lists, lists, optimizer=SGD, num_steps=1
        )


def test_refuses_what_becomes_of_a_state_that_is_not_there():
    options = {"optimizer": SGD, "num_steps": 1, "statistics": "carried"}
    with pytest.raises(ValueError, match="statistics='carried' says what becomes of the model's state: give that as"):
        value_and_maml_gradient(lambda p, x: jnp.sum(p["w"] * x), {"w": jnp.ones(2)}, X2, X2, **options)


X2 = jnp.asarray(np.ones((1, 2)))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda p, s, x, y, train: jnp.sum(p["w"]), r"must return the pair \(loss, state\), since state is given"),
        (lambda p, s, x, y, train: (jnp.sum(p["w"]), {"other": s}), r"(?s)the state that loss_fn returns.*"),
    ],
)
def test_refuses_a_loss_that_does_not_return_the_state(loss, message):
    with pytest.raises((TypeError, ValueError), match=message):
        value_and_maml_gradient(loss, {"w": jnp.ones(2)}, SUPPORT, QUERY, optimizer=SGD, num_steps=1, state=jnp.ones(1))


def test_an_error_of_a_loss_names_the_task_and_not_the_state():
    def fails(params, state, x, y, *, train):
        raise KeyError(x.shape)

    with pytest.raises(KeyError) as caught:
        value_and_maml_gradient(fails, {"w": jnp.ones(2)}, SUPPORT, QUERY, optimizer=SGD, num_steps=1, state=STATE)
    assert "it was given task[0]: float64[5,3], task[1]: float64[5,1]" in " ".join(caught.value.__notes__)
