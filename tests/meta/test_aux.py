"""What the loss of a task returns beside its value: of which pass it is, and that the rest is as it was."""

import jax
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxgrad import _tree, meta
from tests.bridge import assert_parity
from tests.meta.tasks import OPTIMIZERS, PARAMS, QUERY, SUPPORT
from tests.problems import mean_square, mlp_jax
from tests.turns import one_in

INNER = OPTIMIZERS["momentum"][0]
TASK = _tree.take(SUPPORT, 0)
STEPS = {"optimizer": INNER, "num_steps": 2}


def described(params, x, y):
    """A loss with leaves of every kind beside it; the weights say at which point."""
    prediction = mlp_jax(params, x)
    aux = {
        "prediction": prediction,
        "close": jnp.abs(prediction - y) < 0.5,
        "count": jnp.int8(len(x)),
        "narrow": x.astype(jnp.bfloat16),
        "weights": params,
        "none": None,
        "empty": jnp.zeros((0, 2)),
    }
    return ((prediction - y) ** 2).mean(), aux


def aux_of(params, data):
    return described(params, *data)[1]


def adapted(support, **options):
    return meta.adapt(mean_square, PARAMS, support, **{**STEPS, **options})


def after_every_task(**options):
    """Return the aux on each query at the parameters that are adapted to its support."""
    return jax.jit(jax.vmap(lambda support, query: aux_of(adapted(support, **options), query)))(SUPPORT, QUERY)


MEAN = {
    "maml_gradient": meta.maml_gradient,
    "value_and_maml_gradient": meta.value_and_maml_gradient,
    "first_order_gradient": meta.first_order_gradient,
    "value_and_first_order_gradient": meta.value_and_first_order_gradient,
}


def apart(name, result):
    """Return a result as it is without the aux, and the aux."""
    if "value" in name:
        (value, aux), gradient = result
        return (value, gradient), aux
    return result


CASES = one_in(3, [*(pytest.param(name, 2) for name in MEAN), pytest.param("value_and_maml_gradient", 0)])


@pytest.mark.parametrize(
    ("name", "steps"),
    CASES,
)
def test_aux_is_that_of_the_query_at_the_adapted_parameters(name, steps):
    result, aux = apart(
        name, MEAN[name](described, PARAMS, SUPPORT, QUERY, optimizer=INNER, num_steps=steps, has_aux=True)
    )
    assert_parity(aux, after_every_task(num_steps=steps), dtypes=True)
    assert_parity(
        result, MEAN[name](mean_square, PARAMS, SUPPORT, QUERY, optimizer=INNER, num_steps=steps), dtypes=True
    )


def test_leaves_that_are_held():
    options = {**STEPS, "wrt": "layer0", "inner_wrt": "layer1"}
    result, aux = meta.maml_gradient(described, PARAMS, SUPPORT, QUERY, has_aux=True, **options)
    assert_parity(result, meta.maml_gradient(mean_square, PARAMS, SUPPORT, QUERY, **options))
    assert_parity(aux, after_every_task(wrt="layer1"))


@pytest.mark.parametrize("steps", [0, pytest.param(1, marks=pytest.mark.slow), 3])
def test_aux_of_adapt_is_that_of_every_step_where_it_starts(steps):
    result, aux = meta.adapt(described, PARAMS, TASK, optimizer=INNER, num_steps=steps, has_aux=True)
    assert_parity(result, adapted(TASK, num_steps=steps), dtypes=True)
    starts = [aux_of(adapted(TASK, num_steps=k), TASK) for k in range(max(steps, 1))]
    want = jax.tree.map(lambda *rows: jnp.stack(rows)[:steps], *starts)
    assert_parity(aux, want, dtypes=True)


@pytest.mark.parametrize("truncated", one_in(2, [False, True], 1))
def test_aux_of_the_gradient_through_a_step_is_that_after_it(truncated):
    options = {"optimizer": INNER, "truncated": truncated}
    result, aux = meta.step_gradient(described, PARAMS, *TASK, has_aux=True, **options)
    assert_parity(result, meta.step_gradient(mean_square, PARAMS, *TASK, **options), dtypes=True)
    assert_parity(aux, aux_of(adapted(TASK, num_steps=1), TASK), dtypes=True)


def test_an_optimizer_that_asks_for_the_loss_gets_its_value_alone():
    line_search = optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(max_backtracking_steps=5))
    options = {"optimizer": line_search, "num_steps": 2}
    result, aux = meta.adapt(described, PARAMS, TASK, has_aux=True, **options)
    assert_parity(result, meta.adapt(mean_square, PARAMS, TASK, **options))
    assert aux["count"].tolist() == [4, 4]


@pytest.mark.parametrize(
    "call",
    [
        lambda p, x, y, **o: meta.adapt(described, p, (x, y), has_aux=True, **STEPS, **o),
        pytest.param(
            lambda p, x, y, **o: meta.step_gradient(described, p, x, y, optimizer=INNER, has_aux=True, **o),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_device_has_its_own_aux_where_all_devices_have_moved_the_parameters(call):
    rows = P(*[None] * (call(PARAMS, *TASK)[1]["prediction"].ndim - 2), "d")

    def device(*given):
        result, aux = call(*given, axis_name="d")
        return result, aux["prediction"]

    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))
    spread = jax.shard_map(device, mesh=mesh, in_specs=(P(), P("d"), P("d")), out_specs=(P(), rows))
    result, aux = call(PARAMS, *TASK)
    assert_parity(jax.jit(spread)(PARAMS, *TASK), (result, aux["prediction"]))


CALLS = {
    "adapt": lambda f, **o: meta.adapt(f, PARAMS, TASK, **STEPS, **o),
    "maml_gradient": lambda f, **o: meta.maml_gradient(f, PARAMS, SUPPORT, QUERY, **STEPS, **o),
    "first_order_gradient": lambda f, **o: meta.first_order_gradient(f, PARAMS, SUPPORT, QUERY, **STEPS, **o),
    "step_gradient": lambda f, **o: meta.step_gradient(f, PARAMS, *TASK, optimizer=INNER, **o),
}


def predicting(params, x, y):
    """A loss that hands out no more than it computes anyway."""
    prediction = mlp_jax(params, x)
    return ((prediction - y) ** 2).mean(), prediction


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS)
def test_there_is_no_second_forward(call):
    """What a program does not need is left out of it before its operations are counted."""

    def count(loss, **options):
        text = jax.jit(lambda: CALLS[call](loss, **options)).lower().as_text()
        return text.count(".tanh "), text.count(".dot_general ")

    with_it, alone = count(predicting, has_aux=True), count(mean_square)
    assert with_it == alone
    assert with_it[0] > 0


REFUSED = {
    "a pair without has_aux": (described, {}, r"got a tuple: return the loss alone, or pass has_aux=True"),
    "no pair": (mean_square, {"has_aux": True}, r"must return the pair \(loss, aux\), since has_aux=True; got float64"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", REFUSED)
def test_refusals(call, name):
    loss, options, match = REFUSED[name]
    with pytest.raises(TypeError, match=match):
        CALLS[call](loss, **options)
