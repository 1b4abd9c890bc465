"""Inner steps that move nothing, and data that lack an axis, are refused where that can be told."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgrad import meta
from tests.bridge import assert_parity

SGD = optax.sgd(0.1)
PARAMS = {"head": {"bias": jnp.array([0.5]), "scale": jnp.array([2.0])}, "trunk": jnp.array([1.0, -1.0])}
_task = np.array([[1.0, 2.0], [3.0, 4.0], [0.5, 1.0]])
TASK, TASKS = jnp.asarray(_task), jnp.asarray(np.stack([_task, _task + 1]))


def without_scale(params, x):
    return jnp.mean((x @ params["trunk"] + params["head"]["bias"]) ** 2)


@jax.jit
def stopped(params, x):
    return without_scale(jax.lax.stop_gradient(params), x)


CALLS = {
    "adapt": lambda loss, chosen, **o: meta.adapt(loss, PARAMS, (TASK,), wrt=chosen, **o),
    "maml": lambda loss, chosen, **o: meta.maml_gradient(loss, PARAMS, TASKS, TASKS, inner_wrt=chosen, **o),
    "first": lambda loss, chosen, **o: meta.first_order_gradient(loss, PARAMS, TASKS, TASKS, inner_wrt=chosen, **o),
    "reptile": lambda loss, chosen, **o: meta.reptile_gradient(loss, PARAMS, TASKS, wrt=chosen, **o),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_chosen_leaf_that_the_loss_does_not_use_is_named(call):
    with pytest.raises(
        ValueError, match=r"inner loss does not depend on head/scale, which.*leave them out of inner_wrt"
    ):
        CALLS[call](without_scale, ["head", "trunk"], optimizer=SGD, num_steps=1)


@pytest.mark.parametrize("call", ["adapt", "reptile"])
def test_a_loss_that_uses_nothing_is_refused_behind_jit_too(call):
    with pytest.raises(
        ValueError, match=r"inner loss does not depend on head/bias, head/scale, trunk, which.*closes over"
    ):
        CALLS[call](stopped, None, optimizer=SGD, num_steps=1)


def test_a_leaf_that_nobody_chose_stays_where_it_is():
    got = meta.adapt(without_scale, PARAMS, (TASK,), optimizer=SGD, num_steps=1)
    assert_parity(got, meta.adapt(without_scale, PARAMS, (TASK,), optimizer=SGD, num_steps=1, wrt=["head/b*", "trunk"]))
    assert_parity(meta.adapt(stopped, PARAMS, (TASK,), optimizer=SGD, num_steps=0), PARAMS)


PER_TASK = {
    "maml_gradient": {},
    "first_order_gradient": {},
    "truncated_gradient": {"window": 1},
    "implicit_gradient": {"strength": 1.0},
}


@pytest.mark.parametrize("name", PER_TASK)
def test_a_support_without_an_axis_of_tasks_is_told_by_its_query(name):
    """The support is three examples, the query three tasks: every example would be a task of its own."""
    query = jnp.stack([TASK, TASK, TASK])
    match = (
        r"the same axes: .* axis of tasks, or of examples; write x\[None\].*\n  support: got float64\[3,2\], query: got"
    )
    with pytest.raises(ValueError, match=match):
        getattr(meta, name)(without_scale, PARAMS, TASK, query, optimizer=SGD, num_steps=1, **PER_TASK[name])


def test_the_axis_of_the_steps_is_that_of_the_support_alone():
    with pytest.raises(ValueError, match=r"same axes but for that of the steps.*\n  support: got float64\[2,3,2\]"):
        meta.maml_gradient(without_scale, PARAMS, TASKS, TASKS, optimizer=SGD, num_steps=3, per_step=True)
