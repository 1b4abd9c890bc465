"""`multi_loss.aggregated_gradient` with simple rules against torch; groups, heads, states, rules of the rows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.multi_loss
from jaxgrad import _tree
from jaxgrad.multi_loss import aggregated_gradient, famo, graddrop, gradients, gram, mgda
from tests.bridge import assert_parity
from tests.multi_loss.heads import heads, outputs, outputs_torch
from tests.multi_loss.rules import drifting, mean, to_unit_norms, to_unit_norms_torch

pytestmark = pytest.mark.usefixtures("compiled_quickly")

PROBLEM = heads()
DRIFTING = drifting(0.25)


@pytest.fixture(scope="module")
def rows():
    return jax.device_get(gradients(outputs, PROBLEM.params, PROBLEM.x))


def run(losses_fn=outputs, **options):
    return aggregated_gradient(losses_fn, PROBLEM.params, PROBLEM.x, **options)


def weighted(rows, weights):
    return jax.tree.map(lambda leaf: np.tensordot(weights, leaf, 1), rows)


def test_matches_torch():
    want = torch_ref.multi_loss.aggregated_gradient(
        outputs_torch, PROBLEM.params_torch, PROBLEM.x_torch, weighting=to_unit_norms_torch
    )
    found = run(weighting=to_unit_norms, full_output=True)
    assert_parity(found.gradient, want)
    assert_parity(found.gram, gram(outputs, PROBLEM.params, PROBLEM.x))
    assert_parity(found.weights, to_unit_norms(found.gram))
    assert_parity(found.losses, outputs(PROBLEM.params, PROBLEM.x))


def test_options_are_traced():
    run(weighting=to_unit_norms, options={"power": 0.5})
    with jax.no_tracing(True):
        got = run(weighting=to_unit_norms, options={"power": 0.0})
    assert_parity(got, jax.jit(jax.grad(lambda p, x: sum(outputs(p, x))))(PROBLEM.params, PROBLEM.x))


def test_weights_by_group_of_leaves(rows):
    found = run(weighting=to_unit_norms, groups={"first": "trunk/*/bias", "second": "head*"}, full_output=True)
    parts = [{"b": rows["trunk"]["layer0"]["bias"]}, [rows["head0"], rows["head1"]], rows["trunk"]["layer0"]["weight"]]
    for k, part in enumerate(parts):
        flat = np.concatenate([leaf.reshape(2, -1) for leaf in jax.tree.leaves(part)], 1)
        assert_parity(found.gram[k], flat @ flat.T)
        assert_parity(found.weights[k], to_unit_norms(flat @ flat.T))
    want = [weighted(part, weights) for part, weights in zip(parts, found.weights, strict=True)]
    got = found.gradient
    assert_parity([got["trunk"]["layer0"]["bias"], got["head0"], got["trunk"]["layer0"]["weight"]],
                  [want[0]["b"], want[1][0], want[2]])  # fmt: skip


def test_heads_keep_the_gradient_of_their_own_loss(rows):
    found = run(weighting=to_unit_norms, shared="trunk", full_output=True)
    assert_parity(found.gram, gram(outputs, PROBLEM.params, PROBLEM.x, wrt="trunk"))
    assert_parity(found.gradient["trunk"], weighted(rows["trunk"], found.weights))
    assert_parity([found.gradient["head0"], found.gradient["head1"]],
                  [_tree.take(rows["head0"], 0), _tree.take(rows["head1"], 1)])  # fmt: skip


def test_a_rule_with_a_state(rows):
    found = run(weighting=DRIFTING, state=DRIFTING.init(2), full_output=True)
    assert_parity(found.weights, 0.75 + 0.25 * to_unit_norms(found.gram))
    assert_parity(found.state, found.weights)
    again = run(weighting=DRIFTING, state=found.state, full_output=True)
    assert_parity(again.weights, 0.75 * found.state + 0.25 * to_unit_norms(found.gram))
    states = (DRIFTING.init(2),) * 2
    grouped = run(weighting=DRIFTING, state=states, groups=["trunk"], full_output=True)
    assert_parity(jnp.stack(grouped.state), grouped.weights)


def largest(rows, *, power=1):
    """The entry of the larger magnitude, to a power: a rule of the rows."""
    return jax.tree.map(lambda leaf: jnp.where(abs(leaf[0]) > abs(leaf[1]), leaf[0], leaf[1]) ** power, rows)


def test_a_rule_of_the_rows_themselves(rows):
    assert_parity(run(aggregator=largest), largest(rows))
    assert_parity(run(aggregator=largest, groups=["trunk"]), largest(rows))
    got = run(aggregator=largest, options={"power": 3}, shared="trunk", full_output=True)
    assert_parity(got.gradient["trunk"], largest(rows["trunk"], power=3))
    assert_parity(got.gradient["head0"], _tree.take(rows["head0"], 0))
    assert got.gram is None


def test_a_loss_that_is_not_finite_is_not_dropped_in_silence():
    def sick(params, x):
        first, second = outputs(params, x)
        return first, second * jnp.nan

    assert not jnp.isfinite(run(sick, weighting=to_unit_norms)["trunk"]["layer0"]["weight"]).any()


def test_the_memory_is_that_of_a_leaf_and_not_of_the_rows(compiled_fully):
    count, width = 6, 128
    params = {f"layer{i}": jnp.ones((width, width), jnp.float32) for i in range(4)}

    def losses(params, x):
        for i in range(4):
            x = jnp.tanh(x @ params[f"layer{i}"])
        return tuple(jnp.mean(x[:, k] ** 2) for k in range(count))

    def bytes_of(fun):
        memory = jax.jit(fun).lower(params, jnp.ones((16, width), jnp.float32)).compile().memory_analysis()
        return memory.temp_size_in_bytes + memory.output_size_in_bytes

    ours = bytes_of(functools.partial(aggregated_gradient, losses, weighting=to_unit_norms))
    assert ours <= 0.75 * bytes_of(functools.partial(gradients, losses))


REFUSED = {
    "no rule": ({}, ValueError, "got neither"),
    "two rules": ({"weighting": mean, "aggregator": largest}, ValueError, "got both"),
    "no function": ({"weighting": 3}, TypeError, "weighting must be a function.*got a int"),
    "no dictionary": ({"weighting": mean, "options": 3.0}, TypeError, "options must be a dictionary"),
    "a rule of rows": ({"weighting": functools.partial(graddrop, leak=None)}, ValueError, "give it as aggregator="),
    "a rule of the matrix": ({"aggregator": mgda}, ValueError, "give it as weighting="),
    "a scalarizer": ({"weighting": famo()}, TypeError, "a Scalarizer, which joins the losses"),
    "a word": ({"weighting": mean, "groups": "trunk"}, TypeError, "groups must be a tuple, list or dict.*got 'trunk'"),
    "a matrix": ({"weighting": lambda gram: gram}, ValueError, r"one weight for.*shape \(2,\); got float64\[2,2\]"),
    "integers": ({"weighting": lambda gram: jnp.ones(2, int)}, TypeError, r"real floating-point.*got int64\[2\]"),
    "rows": ({"aggregator": lambda rows: rows}, ValueError, "the result of aggregator must have the structure, shapes"),
    "no state": ({"weighting": DRIFTING}, ValueError, "needs state="),
    "no pair": (
        {"weighting": DRIFTING._replace(update=lambda gram, state: state), "state": 1.0, "full_output": True},
        TypeError,
        "must return the pair",
    ),
    "one state": (
        {"weighting": DRIFTING, "state": 1.0, "full_output": True, "groups": ["trunk"]},
        ValueError,
        "state must be a tuple of 2 states",
    ),
    "a leaf twice": ({"weighting": mean, "groups": ["trunk", "*/bias"]}, ValueError, "layer0/bias in more than one"),
    "an empty group": ({"weighting": mean, "groups": ["head0"], "shared": "trunk"}, ValueError, "select no leaf that"),
    "a shared head": ({"weighting": mean, "shared": "trunk/*/bias"}, ValueError, r"params\['trunk'\].*depend on it"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    options, error, message = REFUSED[name]
    with pytest.raises(error, match=rf"(?s){message}"):
        run(**options)
