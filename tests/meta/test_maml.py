"""`maml_gradient` and `value_and_maml_gradient` against torch, a closed form, their laws, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import torch_ref.meta
from jaxgrad.meta import adapt, first_order_gradient, maml_gradient, value_and_maml_gradient
from tests.bridge import assert_parity
from tests.meta.tasks import (
    OPTIMIZERS,
    PARAMS,
    PARAMS_TORCH,
    QUERY,
    QUERY_TORCH,
    RATES,
    RATES_TORCH,
    STATE,
    STATE_TORCH,
    STEPPED,
    STEPPED_TORCH,
    SUPPORT,
    SUPPORT_TORCH,
    centred,
    centred_torch,
)
from tests.problems import mean_square, mean_square_torch
from tests.turns import one_in

SGD, STANDING = OPTIMIZERS["sgd"][0], optax.sgd(0.0)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        pytest.param(name, steps, marks=[] if steps == 3 or (name, steps) == ("sgd", 0) else pytest.mark.slow)
        for name in OPTIMIZERS
        for steps in (0, 1, 3)
    ],
)
def test_matches_torch(name, steps):
    ours, theirs = OPTIMIZERS[name]
    got = value_and_maml_gradient(mean_square, PARAMS, SUPPORT, QUERY, optimizer=ours, num_steps=steps)
    tasks = PARAMS_TORCH, SUPPORT_TORCH, QUERY_TORCH
    want = torch_ref.meta.value_and_maml_gradient(mean_square_torch, *tasks, optimizer=theirs, num_steps=steps)
    assert_parity(got, want)


WEIGHTS = np.array([0.1, 0.4, 0.0, 0.2, 0.3])


@pytest.mark.parametrize("memory", one_in(4, ["nested", "checkpoint", "unrolled", "mixed-mode"]))
def test_every_option_at_once_matches_torch(memory):
    """Data and learned rates of every step, a weighted query after each, half of the second derivatives, chunks."""
    ours, theirs = OPTIMIZERS["momentum"]
    shared = {"num_steps": 5, "per_step": True, "second_order": 0.5}
    which = {"wrt": ["layer0", "layer1/bias"], "inner_wrt": "*/weight", "chunk": 2, "memory": memory}
    weights = {"learning_rates": RATES, "step_weights": jnp.asarray(WEIGHTS)}
    got = value_and_maml_gradient(mean_square, PARAMS, STEPPED, QUERY, optimizer=ours, **shared, **which, **weights)
    assert [*PARAMS_TORCH["layer1"]] == ["bias", "weight"]  # the order of the flags
    which = {"wrt": [True, True, True, False], "inner_wrt": [False, True, False, True]}
    weights = {"learning_rates": RATES_TORCH, "step_weights": WEIGHTS}
    tasks = PARAMS_TORCH, STEPPED_TORCH, QUERY_TORCH
    options = {"optimizer": theirs, **shared, **which, **weights}
    assert_parity(got, torch_ref.meta.value_and_maml_gradient(mean_square_torch, *tasks, **options))


@pytest.mark.parametrize(
    "statistics", one_in(2, ["frozen", "transductive", "carried"], 1)
)  # test_first_order.py: carried, test_implicit.py: frozen
def test_a_state_beside_the_parameters_matches_torch(statistics):
    # in training mode the last bias has no slope but rounding, which Adam would divide by eps
    ours, theirs = OPTIMIZERS["momentum"]
    shared = {"num_steps": 3, "statistics": statistics}
    got = value_and_maml_gradient(centred, PARAMS, SUPPORT, QUERY, optimizer=ours, state=STATE, **shared)
    tasks = PARAMS_TORCH, SUPPORT_TORCH, QUERY_TORCH
    options = {"optimizer": theirs, "state": STATE_TORCH, **shared}
    assert_parity(got, torch_ref.meta.value_and_maml_gradient(centred_torch, *tasks, **options))


def test_gradient_is_the_second_value():
    got = maml_gradient(mean_square, PARAMS, SUPPORT, QUERY, optimizer=SGD, num_steps=1)
    _, want = value_and_maml_gradient(mean_square, PARAMS, SUPPORT, QUERY, optimizer=SGD, num_steps=1)
    assert_parity(got, want, tolerance=0.0)


def test_no_steps_give_the_plain_gradient():
    got = maml_gradient(mean_square, PARAMS, SUPPORT, QUERY, optimizer=SGD, num_steps=0)
    flat = [leaf.reshape(-1, leaf.shape[-1]) for leaf in QUERY]
    assert_parity(got, jax.jit(jax.grad(mean_square))(PARAMS, *flat))


def test_steps_of_size_0_give_the_plain_gradient():
    got = maml_gradient(mean_square, PARAMS, SUPPORT, QUERY, optimizer=STANDING, num_steps=2)
    flat = [leaf.reshape(-1, leaf.shape[-1]) for leaf in QUERY]
    assert_parity(got, jax.jit(jax.grad(mean_square))(PARAMS, *flat))


def test_no_part_of_the_second_derivatives_is_the_first_order_gradient():
    options = {"optimizer": SGD, "num_steps": 2}
    got = maml_gradient(mean_square, PARAMS, SUPPORT, QUERY, second_order=0.0, **options)
    assert_parity(got, first_order_gradient(mean_square, PARAMS, SUPPORT, QUERY, **options))


def test_rejects_a_query_that_the_adapted_parameters_do_not_enter():
    def loss(params, x, y):
        return mean_square(PARAMS, x, y) + 0 * jax.lax.stop_gradient(params["layer1"]["bias"][0])

    with pytest.raises(ValueError, match=r"does not depend on the adapted parameters.*meta-gradient is zero"):
        maml_gradient(loss, PARAMS, SUPPORT, QUERY, optimizer=SGD, num_steps=1)


@pytest.mark.parametrize("weights", [np.ones(3), np.ones((2, 1))])
def test_rejects_step_weights_that_are_not_one_a_step(weights):
    with pytest.raises(ValueError, match=r"step_weights must be one number for each of the 2 steps, of shape \(2,\)"):
        maml_gradient(mean_square, PARAMS, SUPPORT, QUERY, optimizer=SGD, num_steps=2, step_weights=weights)


@pytest.mark.parametrize("chunk", [0, -1])
def test_rejects_chunks_of_no_task(chunk):
    with pytest.raises(ValueError, match="chunk must be at least 1"):
        maml_gradient(mean_square, PARAMS, SUPPORT, QUERY, optimizer=SGD, num_steps=1, chunk=chunk)


def squared_distance(params, target):
    return 0.5 * jnp.sum((params["w"] - target) ** 2)


def test_closed_form_of_a_quadratic():
    """Every step shrinks the distance by 0.9, and the derivative of the moved weights by the same factor."""
    w, targets = np.array([1.0, -1.0]), np.array([[2.0, 0.5], [-1.0, 3.0], [0.0, 0.0], [1.5, 1.0]])
    start, tasks = {"w": jnp.asarray(w)}, jnp.asarray(targets)
    value, gradient = value_and_maml_gradient(squared_distance, start, tasks, tasks, optimizer=SGD, num_steps=5)
    assert_parity(value, 0.5 * (0.9**10 * (w - targets) ** 2).sum(1).mean())
    assert_parity(gradient, {"w": 0.9**10 * (w - targets).mean(0)})


def test_wrt_masks_the_gradient_and_leaves_the_adaptation_alone():
    options = {"optimizer": SGD, "num_steps": 2}
    full = maml_gradient(mean_square, PARAMS, SUPPORT, QUERY, **options)
    got = maml_gradient(mean_square, PARAMS, SUPPORT, QUERY, **options, wrt="layer0")
    assert_parity(got, {"layer0": full["layer0"], "layer1": jax.tree.map(jnp.zeros_like, full["layer1"])})


def test_inner_wrt_holds_the_trunk_during_adaptation():
    got = maml_gradient(mean_square, PARAMS, SUPPORT, QUERY, optimizer=SGD, num_steps=2, inner_wrt="layer1")

    def meta_loss(params):
        def after(support, query):
            def of_head(head, *data):
                return mean_square({"layer0": params["layer0"], "layer1": head}, *data)

            return of_head(adapt(of_head, params["layer1"], support, optimizer=SGD, num_steps=2), *query)

        return jax.vmap(after)(SUPPORT, QUERY).mean()

    assert_parity(got, jax.jit(jax.grad(meta_loss))(PARAMS))


def test_one_task_and_many_steps():
    one = [tuple(leaf[:1] for leaf in data) for data in (SUPPORT, QUERY)]
    got = maml_gradient(mean_square, PARAMS, *one, optimizer=SGD, num_steps=300)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(got))


def test_steps_are_recomputed_so_that_memory_stays_small():
    """Without recomputation the intermediate values of all 16 steps would be kept: 16 x 3 x 2 MB."""
    params = {f"layer{i}": {"weight": jnp.eye(4), "bias": jnp.ones(4)} for i in range(4)}
    data = jnp.ones((1, 2**14, 4)), jnp.ones((1, 2**14, 4))

    def gradient(params, support, query):
        return maml_gradient(mean_square, params, support, query, optimizer=SGD, num_steps=16)

    memory = jax.jit(gradient).lower(params, data, data).compile().memory_analysis().temp_size_in_bytes
    assert memory < 30e6


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ((QUERY[0][:2], QUERY[1]), r"(?s)same leading axis:.*query\[0\]: got float64\[2,5,2\]"),
        ((QUERY[0], jnp.array(1.0)), r"(?s)same leading axis:.*query\[1\]: got float64\[\]"),
    ],
)
def test_rejects_tasks_that_do_not_line_up(query, message):
    with pytest.raises(ValueError, match=message):
        maml_gradient(mean_square, PARAMS, SUPPORT, query, optimizer=SGD, num_steps=1)


def test_rejects_an_empty_set_of_tasks():
    none = tuple(leaf[:0] for leaf in SUPPORT)
    with pytest.raises(ValueError, match="there are no tasks"):
        maml_gradient(mean_square, PARAMS, none, none, optimizer=SGD, num_steps=1)


def test_rejects_a_negative_number_of_steps():
    with pytest.raises(ValueError, match="num_steps must be at least 0"):
        maml_gradient(mean_square, PARAMS, SUPPORT, QUERY, optimizer=SGD, num_steps=-2)


def test_rejects_a_pattern_that_selects_nothing():
    with pytest.raises(ValueError, match="wrt='head' selects no leaf"):
        maml_gradient(mean_square, PARAMS, SUPPORT, QUERY, optimizer=SGD, num_steps=1, inner_wrt="head")
