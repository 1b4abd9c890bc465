"""`first_order_gradient` and its value: the gradient at the adapted weights, as torch computes it."""

import jax
import jax.numpy as jnp
import optax
import pytest

import torch_ref.meta
from jaxgrad import _tree
from jaxgrad.meta import adapt, first_order_gradient, maml_gradient, value_and_first_order_gradient
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

SGD = OPTIMIZERS["sgd"][0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_matches_torch(name):
    ours, theirs = OPTIMIZERS[name]
    got = value_and_first_order_gradient(mean_square, PARAMS, SUPPORT, QUERY, optimizer=ours, num_steps=3)
    tasks = PARAMS_TORCH, SUPPORT_TORCH, QUERY_TORCH
    want = torch_ref.meta.value_and_first_order_gradient(mean_square_torch, *tasks, optimizer=theirs, num_steps=3)
    assert_parity(got, want)


@pytest.mark.parametrize("statistics", one_in(3, ["frozen", "transductive", "carried"], start=2))
def test_data_of_every_step_learned_rates_chunks_and_a_state_match_torch(statistics):
    ours, theirs = OPTIMIZERS["momentum"]
    shared = {"num_steps": 5, "per_step": True, "statistics": statistics}
    options = {"optimizer": ours, "state": STATE, "learning_rates": RATES, "chunk": 2, **shared}
    got = value_and_first_order_gradient(centred, PARAMS, STEPPED, QUERY, **options)
    tasks = PARAMS_TORCH, STEPPED_TORCH, QUERY_TORCH
    options = {"optimizer": theirs, "state": STATE_TORCH, "learning_rates": RATES_TORCH, **shared}
    assert_parity(got, torch_ref.meta.value_and_first_order_gradient(centred_torch, *tasks, **options))


def test_is_the_mean_gradient_at_the_adapted_weights():
    got = first_order_gradient(mean_square, PARAMS, SUPPORT, QUERY, optimizer=SGD, num_steps=2)
    rows, gradient = [], jax.jit(jax.grad(mean_square))
    for t in range(3):
        fast = adapt(mean_square, PARAMS, _tree.take(SUPPORT, t), optimizer=SGD, num_steps=2)
        rows.append(gradient(fast, *_tree.take(QUERY, t)))
    assert_parity(got, jax.tree.map(lambda *leaves: sum(leaves) / 3, *rows))


def test_no_steps_give_the_plain_gradient():
    options = {"optimizer": SGD, "num_steps": 0}
    got = first_order_gradient(mean_square, PARAMS, SUPPORT, QUERY, **options)
    assert_parity(got, maml_gradient(mean_square, PARAMS, SUPPORT, QUERY, **options))


def test_differs_from_the_full_gradient_by_the_derivative_of_the_steps():
    """On a quadratic, every step shrinks the full gradient, and not the first-order one, by 0.9."""
    targets = jnp.array([[2.0, 0.5], [-1.0, 3.0]])
    arguments = (lambda p, t: 0.5 * jnp.sum((p["w"] - t) ** 2), {"w": jnp.ones(2)}, targets, targets)
    first = first_order_gradient(*arguments, optimizer=SGD, num_steps=3)
    assert_parity(maml_gradient(*arguments, optimizer=SGD, num_steps=3), {"w": 0.9**3 * first["w"]})


def test_differs_from_the_full_gradient_of_one_step_by_the_rate_times_a_hessian_product():
    """M = L(w - a g): dM = dL - a H dL, where dL, at the moved weights, is the first-order gradient."""
    matrix = jnp.array([[2.0, 0.5], [0.5, 1.0]])

    def loss(params, target):
        return 0.5 * (params["w"] - target) @ matrix @ (params["w"] - target)

    targets = jnp.array([[2.0, 0.5], [-1.0, 3.0]])
    first, full = [
        fun(loss, {"w": jnp.ones(2)}, targets, targets, optimizer=SGD, num_steps=1)["w"]
        for fun in (first_order_gradient, maml_gradient)
    ]
    assert_parity(full - first, -0.1 * matrix @ first)
    assert jnp.linalg.norm(full - first) > 0.1 * jnp.linalg.norm(first)


def test_rejects_a_query_that_the_adapted_parameters_do_not_enter():
    def loss(params, x, y):
        return mean_square(PARAMS, x, y) + 0 * jax.lax.stop_gradient(params["layer1"]["bias"][0])

    with pytest.raises(ValueError, match="the loss of the query does not depend on the adapted parameters"):
        first_order_gradient(loss, PARAMS, SUPPORT, QUERY, optimizer=SGD, num_steps=1)


def test_wrt_masks_the_gradient_and_may_hold_integer_leaves():
    def loss(params, x, y):
        return mean_square({k: v for k, v in params.items() if k != "step"}, x, y)

    options = {"optimizer": SGD, "num_steps": 2, "inner_wrt": "layer*"}
    full = first_order_gradient(mean_square, PARAMS, SUPPORT, QUERY, **options)
    got = first_order_gradient(loss, {**PARAMS, "step": jnp.array(7)}, SUPPORT, QUERY, **options, wrt="layer1")
    zeros = jax.tree.map(jnp.zeros_like, full["layer0"])
    assert_parity(got, {"layer0": zeros, "layer1": full["layer1"], "step": 0}, dtypes=False)
    assert got["step"].dtype == jnp.int64


def test_takes_an_optimizer_that_has_no_derivative():
    """Reverse mode cannot pass a while loop, as in a line search; the gradient at its end does not ask for that."""
    start, targets = {"w": jnp.ones(2)}, jnp.array([[2.0, 0.5], [-1.0, 3.0]])
    arguments = (lambda p, t: 0.5 * jnp.sum((p["w"] - t) ** 2), start, targets, targets)
    got = first_order_gradient(*arguments, optimizer=HALVING, num_steps=2)
    assert_parity(got, {"w": 0.25 * (1.0 - targets).mean(0)})
    with pytest.raises(
        ValueError, match="cannot be differentiated in reverse: a step, or the loss, holds a while loop"
    ):
        maml_gradient(*arguments, optimizer=HALVING, num_steps=2)


def halve(updates, state, params=None):
    """Go half of the way, found by a search that takes a number of rounds unknown beforehand."""
    length = jax.lax.while_loop(
        lambda length: length > 0.5, lambda length: length * 0.5, jnp.max(jnp.abs(updates["w"])) * 0 + 1.0
    )
    return jax.tree.map(lambda leaf: -length * leaf, updates), state


HALVING = optax.GradientTransformation(lambda params: (), halve)


def test_rejects_ragged_tasks():
    with pytest.raises(ValueError, match=r"(?s)same leading axis:.*support\[0\]: got float64\[3,4,2\]"):
        first_order_gradient(mean_square, PARAMS, SUPPORT, (QUERY[0][:2], QUERY[1][:2]), optimizer=SGD, num_steps=1)


def test_rejects_an_empty_set_of_tasks():
    none = tuple(leaf[:0] for leaf in SUPPORT)
    with pytest.raises(ValueError, match="there are no tasks"):
        first_order_gradient(mean_square, PARAMS, none, none, optimizer=SGD, num_steps=1)
