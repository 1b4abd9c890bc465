"""`meta_sgd_gradient` and `value_and_meta_sgd_gradient`: against torch, a closed form, and MAML."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import torch_ref.meta
from jaxgrad.meta import maml_gradient, meta_sgd_gradient, value_and_meta_sgd_gradient
from tests.bridge import assert_parity, to_torch
from tests.meta.tasks import (
    OPTIMIZERS,
    PARAMS,
    PARAMS_TORCH,
    QUERY,
    QUERY_TORCH,
    RATES,
    RATES_TORCH,
    STEPPED,
    STEPPED_TORCH,
    SUPPORT,
    SUPPORT_TORCH,
)
from tests.problems import mean_square, mean_square_torch

ENTRIES = jax.tree.map(lambda leaf: jnp.asarray(0.1 + 0.05 * np.sin(leaf)), PARAMS)


def test_a_rate_for_every_entry_matches_torch():
    got = value_and_meta_sgd_gradient(mean_square, PARAMS, ENTRIES, SUPPORT, QUERY, num_steps=2)
    tasks = PARAMS_TORCH, to_torch(ENTRIES), SUPPORT_TORCH, QUERY_TORCH
    assert_parity(got, torch_ref.meta.value_and_meta_sgd_gradient(mean_square_torch, *tasks, num_steps=2))


@pytest.mark.slow
@pytest.mark.parametrize("memory", [None, "checkpoint", "nested", "unrolled"])
def test_rates_of_every_kind_matches_torch(memory):
    """One for a leaf, an entry, a step, and a step and an entry: of Adam, with a query after every step, in chunks."""
    ours, theirs = OPTIMIZERS["adam"]
    weights = np.array([0.1, 0.4, 0.0, 0.2, 0.3])
    shared = {"num_steps": 5, "per_step": True}
    options = {"optimizer": ours, "step_weights": jnp.asarray(weights), "chunk": 2, "memory": memory, **shared}
    got = value_and_meta_sgd_gradient(mean_square, PARAMS, RATES, STEPPED, QUERY, **options)
    tasks = PARAMS_TORCH, RATES_TORCH, STEPPED_TORCH, QUERY_TORCH
    options = {"optimizer": theirs, "step_weights": weights, **shared}
    assert_parity(got, torch_ref.meta.value_and_meta_sgd_gradient(mean_square_torch, *tasks, **options))


def squared_distance(params, target):
    return 0.5 * jnp.sum((params["w"] - target) ** 2)


def test_closed_form_of_a_quadratic():
    """With d the distance from the target, M = 1/2 (prod_k (1 - a_k) d)^2."""
    rates, target = jnp.array([[0.5], [0.2], [-0.1]]), jnp.array([[2.0, 0.5]])
    distance, factor = 1.0 - target[0], jnp.prod(1 - rates)
    options = {"num_steps": 3}
    got = meta_sgd_gradient(squared_distance, {"w": jnp.ones(2)}, {"w": rates}, target, target, **options)
    by_rates = -(factor**2) * jnp.sum(distance**2) / (1 - rates)
    assert_parity(got, ({"w": factor**2 * distance}, {"w": by_rates}))


def test_first_is_the_gradient_of_maml_and_held_leaves_have_rates_without_a_slope():
    options = {"optimizer": optax.sgd(1.0), "num_steps": 1, "wrt": "layer0", "inner_wrt": "layer1"}
    slope, by_rates = meta_sgd_gradient(mean_square, PARAMS, ENTRIES, SUPPORT, QUERY, **options)
    assert_parity(slope, maml_gradient(mean_square, PARAMS, SUPPORT, QUERY, learning_rates=ENTRIES, **options))
    assert_parity(by_rates["layer0"], jax.tree.map(jnp.zeros_like, PARAMS["layer0"]))
    assert all(jnp.all(leaf != 0) for leaf in jax.tree.leaves(by_rates["layer1"]))


def test_no_steps_leave_rates_without_a_slope():
    slope, by_rates = meta_sgd_gradient(mean_square, PARAMS, ENTRIES, SUPPORT, QUERY, num_steps=0)
    flat = [leaf.reshape(-1, leaf.shape[-1]) for leaf in QUERY]
    assert_parity(slope, jax.jit(jax.grad(mean_square))(PARAMS, *flat))
    assert_parity(by_rates, jax.tree.map(jnp.zeros_like, ENTRIES))


@pytest.mark.parametrize(
    ("rates", "error", "message"),
    [
        (0.1, ValueError, r"(?s)learning_rates must have the structure of params.*missing"),
        (jax.tree.map(lambda leaf: 1, PARAMS), TypeError, r"(?s)learning_rates.*got int"),
        (
            jax.tree.map(lambda leaf: jnp.ones((7, 7, 7)), PARAMS),
            ValueError,
            r"which does not broadcast to \(1, 4, 2\)",
        ),
    ],
)
def test_rejects_rates_that_do_not_fit(rates, error, message):
    with pytest.raises(error, match=message):
        meta_sgd_gradient(mean_square, PARAMS, rates, SUPPORT, QUERY, num_steps=1)
