"""`truncated_gradient` against torch, its two limits, a closed form, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.meta
from jaxgrad.meta import first_order_gradient, maml_gradient, truncated_gradient
from tests.bridge import assert_parity
from tests.meta.tasks import OPTIMIZERS, PARAMS, PARAMS_TORCH, QUERY, QUERY_TORCH, SUPPORT, SUPPORT_TORCH
from tests.problems import mean_square, mean_square_torch
from tests.turns import one_in

SGD = OPTIMIZERS["sgd"][0]


def through(window, optimizer="sgd", steps=3, **options):
    chosen = {"optimizer": OPTIMIZERS[optimizer][0], "num_steps": steps, **options}
    return truncated_gradient(mean_square, PARAMS, SUPPORT, QUERY, window=window, **chosen)


@pytest.mark.parametrize(
    ("name", "window"), one_in(2, [pytest.param(n, w) for n in ("momentum", "adam") for w in (1, 2)])
)
def test_matches_torch(name, window):
    options = {"optimizer": OPTIMIZERS[name][1], "num_steps": 3, "window": window}
    want = torch_ref.meta.truncated_gradient(mean_square_torch, PARAMS_TORCH, SUPPORT_TORCH, QUERY_TORCH, **options)
    assert_parity(through(window, name), want)


def test_no_window_is_first_order_and_the_whole_one_is_full():
    options = {"optimizer": SGD, "num_steps": 3}
    assert_parity(through(0), first_order_gradient(mean_square, PARAMS, SUPPORT, QUERY, **options))
    assert_parity(through(3), maml_gradient(mean_square, PARAMS, SUPPORT, QUERY, **options))


def test_chunks_of_tasks_and_leaves_that_are_held():
    whole = through(2, wrt="layer0", inner_wrt="layer1")
    assert_parity(through(2, wrt="layer0", inner_wrt="layer1", chunk=2), whole)
    assert_parity(whole["layer1"], jax.tree.map(jnp.zeros_like, PARAMS["layer1"]))


def test_closed_form_of_a_quadratic_with_data_for_every_step():
    """Every step through which it goes is a factor of 1 - rate; the targets of the steps are their own."""

    def loss(w, target):
        return 0.5 * (w - target) ** 2

    targets, query = np.array([[1.0, -2.0, 0.5], [3.0, 0.0, 1.0]]), np.array([1.0, -1.0])
    w = np.full(2, 0.3)
    for k in range(3):
        w = 0.9 * w + 0.1 * targets[:, k]
    options = {"optimizer": SGD, "num_steps": 3, "per_step": True}
    got = truncated_gradient(loss, jnp.array(0.3), jnp.asarray(targets), jnp.asarray(query), window=2, **options)
    assert_parity(got, 0.9**2 * (w - query).mean())


def test_rejects_a_window_that_is_too_long():
    with pytest.raises(ValueError, match=r"window must be from 0 to 3; got 4\. it is a number of the last"):
        through(4)
