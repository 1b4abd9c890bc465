"""What a loss returns beside its value comes out of every function that takes one, and changes nothing else.

A row of the table calls its public function with a loss of its own. Here the function is replaced by one that gives it
the same loss with an aux, so that a new row is tried without a word about it.
"""

import dataclasses
import functools
import importlib
import inspect
import re

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxgrad import _tree, meta
from tests.bridge import assert_parity
from tests.contract import rows_meta
from tests.contract._table import GROUPED, ROWS, of_inputs
from tests.contract.house import FACED, OF_POINTS, is_function, public_functions
from tests.contract.test_sharding import devices, split, stack, under_shard_map
from tests.contract.test_transforms import under_jit, under_vmap
from tests.optimised import optimised
from tests.turns import in_turn, one_in

FUNCTIONS = {
    name: inspect.signature(function)
    for name, function in public_functions().items()
    if is_function(function) and name.split(".")[0] in set(FACED) - set(OF_POINTS)
}
GIVEN = [
    p
    for p in GROUPED
    # the aux of hypergradient is that of its second loss: tests/meta/test_hypergradient.py has it
    if "has_aux" in getattr(FUNCTIONS.get(p.values[0].split(":")[0]), "parameters", ())
    and not p.values[0].startswith("meta.hypergradient")
]


@pytest.fixture(autouse=True, scope="module")
def _compile_fast():
    """What is tested here is what the programs compute, not how fast they run."""
    with optimised(fully=False):
        yield


@functools.cache
def with_aux(loss):
    """Return a loss with an aux: its value, so that the point shows, and leaves that have no derivative."""

    def both(*args):
        value = loss(*args)
        return value, {"value": value, "count": jnp.arange(3), "flags": [jnp.array([True, False]), jnp.int8(5)]}

    return both


def at_the_shift(aux, params, shift, *data):
    return aux(jax.tree.map(jnp.add, params, shift), *data)


def at_every_shift(aux, params, shifts, *data):
    return jax.vmap(lambda shift: at_the_shift(aux, params, shift, *data))(shifts)


def at_every_shift_both_ways(aux, params, shifts, *data):
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, -leaf], 1).reshape(-1, *leaf.shape[1:]), shifts)
    return at_every_shift(aux, params, both, *data)


def past_the_vector(aux, params, vector, *data):
    return aux(params, *data)


def of_the_inputs(aux, params, vector, inputs, *targets):
    return aux(params, inputs)


def of_every_example(aux, params, *batch):
    return jax.vmap(lambda *one: aux(params, *one))(*batch)


def of_every_training_example(aux, params, train, test):
    return of_every_example(aux, params, *train)


def past_the_vector_of_every_example(aux, params, vector, *batch):
    return of_every_example(aux, params, *batch)


def of_every_adapted_task(aux, params, support, query):
    def of_one(support, query):
        return aux(meta.adapt(lambda *args: aux(*args)["value"], params, support, **rows_meta.STEPS), *query)

    return jax.vmap(of_one)(support, query)


def of_every_task_near(aux, params, support, query):
    """At the minimum that the loss and the proximal term have, as far as the steps reach."""

    def near(fast, *task):
        apart = jax.tree.map(jnp.subtract, fast, params)
        square = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(apart))
        return aux(fast, *task)["value"] + 0.5 * rows_meta.IMPLICIT["strength"] * square

    def of_one(support, query):
        return aux(meta.adapt(near, params, support, **rows_meta.STEPS), *query)

    return jax.vmap(of_one)(support, query)


def of_every_task_adapted_at_rates(aux, params, rates, support, query):
    def of_one(support, query):
        options = {"learning_rates": rates, **rows_meta.STEPS}
        return aux(meta.adapt(lambda *args: aux(*args)["value"], params, support, **options), *query)

    return jax.vmap(of_one)(support, query)


def after_the_step(aux, params, *data):
    after = meta.adapt(lambda *args: aux(*args)["value"], params, data, num_steps=1, **rows_meta.STEP)
    return aux(after, *data)


def at_every_start(aux, params, task):
    def start(k):
        steps = {**rows_meta.ADAPTATION, "num_steps": k}
        return meta.adapt(lambda *args: aux(*args)["value"], params, task, **steps)

    every = [aux(start(k), *task) for k in range(rows_meta.ADAPTATION["num_steps"])]
    return jax.tree.map(lambda *rows: jnp.stack(rows), *every)


def at_every_start_of_every_task(aux, params, support):
    return jax.vmap(lambda task: at_every_start(aux, params, task))(support)


def uphill(aux, params, state, *data):
    size = _tree.norm(state.trace)
    return at_the_shift(aux, params, jax.tree.map(lambda m: 0.1 * m / size, state.trace), *data)


def of_every_group(aux, params, *batch):
    """The row has as many groups as examples."""
    return jax.vmap(lambda *one: aux(params, *(leaf[None] for leaf in one)))(*batch)


POINTS = {
    "curvature.influence": of_every_training_example,
    "curvature.row_space_solve": past_the_vector_of_every_example,
    "shift.value_and_sam_gradient:groups": of_every_group,
    "shift.fisher_sam_gradient": past_the_vector,
    "shift.looksam_gradient": past_the_vector,
    "shift.msam_gradient": uphill,
    "shift.gradient": past_the_vector,
    "shift.value_and_grad": past_the_vector,
    "shift.expected_gradient": at_every_shift,
    "shift.evolution_gradient": at_every_shift_both_ways,
    "shift.score_function_gradient": at_every_shift,
    "curvature.hvp": past_the_vector,
    "curvature.jacobian_product": past_the_vector,
    "curvature.ggn_product": of_the_inputs,
    "curvature.fisher_product": of_the_inputs,
    "curvature.kfac": of_every_example,
    "curvature.ekfac": of_every_example,
    "gradient.mixed_product": past_the_vector,
    "gradient.gradient_penalty": of_every_example,
    **{name: of_every_example for name in FUNCTIONS if name.startswith("per_example.")},
    "per_example.empirical_fisher_product": past_the_vector_of_every_example,
    "multi_loss.momentum_gradients": past_the_vector,
    "multi_loss.simultaneous_updates": past_the_vector,
    "multi_loss.sequential_updates": past_the_vector,
    **{name: of_every_adapted_task for name in FUNCTIONS if name.startswith("meta.")},
    "meta.adapt": at_every_start,
    "meta.implicit_gradient": of_every_task_near,
    "meta.reptile_gradient": at_every_start_of_every_task,
    "meta.meta_sgd_gradient": of_every_task_adapted_at_rates,
    "meta.value_and_meta_sgd_gradient": of_every_task_adapted_at_rates,
    "meta.step_gradient": after_the_step,
}
"""How the aux follows from plain calls of the loss; where nothing is said, it is that at the given arguments."""


@pytest.fixture
def aux_row(monkeypatch):
    """Return, of a row, one whose results have the aux beside them, and the list of what the function was given."""

    def of(name):
        family, function = name.split(":")[0].split(".")
        module, given = importlib.import_module(f"jaxgrad.{family}"), []
        real = getattr(module, function)

        def call(*inputs, **options):
            handed = []

            def replaced(loss, *args, **options):
                given.append((loss, args))
                rest, aux = parts(function, real(with_aux(loss), *args, has_aux=True, **options))
                handed.append(aux)
                return rest

            with monkeypatch.context() as patch:
                patch.setattr(module, function, replaced)
                return ROWS[name].call(*inputs, **options), handed[-1]

        return dataclasses.replace(ROWS[name], call=call), given

    return of


def parts(function, result):
    """Return a result as it is without the aux, and the aux."""
    if "value_and" in function or function == "losses_and_gradients":
        (value, aux), slope = result
        return (value, slope), aux
    return result


WITHOUT = {
    "curvature.predictive_covariance": "its function is a model of one example, whose outputs are not returned",
    "per_example.values": "its function returns any tree",
    "per_example.dp_aggregate": "builds an optax transformation, whose updates have no room beside them",
    "curvature.linearize": "its function is a product, which hands out none",
    "curvature.over_batches": "what it sums over batches has no room beside it",
    "curvature.over_dataset": "what it sums over batches has no room beside it",
    "curvature.weighted_loss": "an aux has no place in a sum",
    "shift.low_rank_shifts": "traces the loss for the uses of its weights; a pair is taken as it comes",
    "shift.explain": "traces the loss for the uses of its weights; a pair is taken as it comes",
    "meta.data_weights_gradient": "the losses of its examples are summed at every step",
    "meta.smoothness": "returns a record of three trainings",
    "meta.evolution_gradient": "two losses of two trajectories for every shift: none of them is that at hyper",
}
"""Functions of a loss that hand out no aux."""

AFTER_ALL = ("meta.adapt", "meta.step_gradient")
"""The aux is that at parameters which the loss of all devices has moved; tests/meta/test_aux.py has it."""


def test_every_function_of_a_loss_hands_out_an_aux():
    takes = {name: next(iter(signature.parameters.values())) for name, signature in FUNCTIONS.items()}
    without = [name for name, first in takes.items() if re.match("Function|LossFn|Callable", str(first.annotation))]
    without = [name for name in without if name not in WITHOUT]
    assert without
    assert [name for name in without if "has_aux" not in FUNCTIONS[name].parameters] == []


@pytest.mark.parametrize("name", one_in(5, GIVEN))
def test_aux_is_that_of_a_plain_call_and_the_rest_is_as_it_was(name, aux_row):
    row, given = aux_row(name)
    inputs = of_inputs(row)
    rest, aux = row.call(*inputs)
    assert_parity(rest, ROWS[name].call(*inputs), dtypes=True)
    (loss, args), *_ = given
    point = POINTS.get(name) or POINTS.get(name.split(":")[0], lambda aux, *args: aux(*args))
    want = jax.jit(lambda *args: point(lambda *args: with_aux(loss)(*args)[1], *args))(*args)
    assert_parity(aux, want, dtypes=True)


@pytest.mark.parametrize(("transform", "name"), in_turn([under_jit, under_vmap, under_shard_map], one_in(5, GIVEN, 1)))
def test_aux_under(transform, name, aux_row):
    row, _ = aux_row(name)
    transform(row, of_inputs(row))


@pytest.mark.parametrize(
    "name",
    one_in(6, [p for p in GIVEN if "axis_name" not in ROWS[p.values[0]].refuses and p.values[0] not in AFTER_ALL]),
)
def test_aux_is_the_devices_own_where_the_loss_is_that_of_all(name, aux_row):
    row, _ = aux_row(name)
    inputs = of_inputs(row)
    plain = ROWS[name].call(*inputs)

    def device(*given):
        rest, aux = row.call(*given, axis_name="d")
        return rest, jax.tree.map(lambda leaf: leaf[None], aux)

    def spec(leaf):
        return P() if row.along is None else P(*[None] * (leaf.ndim + row.along), "d")

    rest, aux = jax.jit(
        jax.shard_map(
            device,
            mesh=devices(AxisType.Auto),
            in_specs=tuple(P("d") if i in row.sharded else P() for i in range(len(inputs))),
            out_specs=(jax.tree.map(spec, plain), P("d")),
        )
    )(*inputs)
    assert_parity(rest, plain)
    own = [row.call(*given)[1] for given in split(row, inputs)[0]]
    assert_parity(aux, stack(own))


# the first forward of these is that of one loss, and the aux here is of both; a shifted gradient alone has no pass at
# the parameters themselves, of which its aux is unless state="moved", and tests/shift counts that
TWO_FORWARDS = (
    "multi_loss.momentum_gradients",
    "multi_loss.sequential_updates",
    "shift.gradient",
    "shift.value_and_grad",
)


@pytest.mark.parametrize("name", one_in(4, [p for p in GIVEN if p.values[0] not in TWO_FORWARDS]))
def test_there_is_no_second_forward(name, aux_row):
    """The networks of the rows are made of tanh; what is not needed is left out of a program before it is counted."""
    row, _ = aux_row(name)
    inputs = of_inputs(row)
    plain, with_it = (jax.jit(call).lower(*inputs).as_text().count(".tanh ") for call in (ROWS[name].call, row.call))
    assert plain == with_it > 0


@pytest.mark.parametrize(
    "name", [p for p in GIVEN if not p.values[0].startswith("multi_loss.")]
)  # two losses are a pair
def test_a_pair_and_has_aux_belong_together(name, monkeypatch):
    family, function = name.split(":")[0].split(".")
    module = importlib.import_module(f"jaxgrad.{family}")
    real, inputs = getattr(module, function), of_inputs(ROWS[name])
    monkeypatch.setattr(module, function, lambda loss, *args, **options: real(loss, *args, has_aux=True, **options))
    with pytest.raises(TypeError, match=r"must return the pair \(loss, aux\), since has_aux=True; got float64"):
        ROWS[name].call(*inputs)
    if function not in {"jacobian", "hessian", "jacobian_product"}:  # of a pair they are the derivatives of both
        monkeypatch.setattr(module, function, lambda loss, *args, **options: real(with_aux(loss), *args, **options))
        with pytest.raises(TypeError, match=r"got a tuple: return the (loss|outputs) alone, or pass has_aux=True"):
            ROWS[name].call(*inputs)
