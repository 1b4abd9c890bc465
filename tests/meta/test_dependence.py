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


def of_trunk(params, x):
    return jnp.mean((x @ params["trunk"]) ** 2)


def head_on_support(params, x):
    """The support has three examples, the query two: that of the query uses the trunk alone."""
    return without_scale(params, x) if len(x) == 3 else of_trunk(params, x)


ADAPTED = {
    **{
        name: lambda name=name, **options: getattr(meta, name)(
            head_on_support, PARAMS, TASKS, TASKS[:, :2], optimizer=SGD, **PER_TASK[name], **options
        )
        for name in PER_TASK
    },
    "meta_sgd_gradient": lambda **options: meta.meta_sgd_gradient(
        head_on_support, PARAMS, jax.tree.map(jnp.ones_like, PARAMS), TASKS, TASKS[:, :2], **options
    ),
}


@pytest.mark.parametrize("name", ADAPTED)
def test_a_query_that_depends_on_held_leaves_alone_is_refused(name):
    """What is adapted does not enter it: by the head, by the rates, the meta-gradient would be zero."""
    match = "the loss of the query depends on trunk alone, and the inner steps move head/bias"
    with pytest.raises(ValueError, match=match):
        ADAPTED[name](inner_wrt="head/bias", num_steps=2)


@pytest.mark.parametrize("name", ["maml_gradient", "first_order_gradient"])
def test_without_steps_such_a_query_has_its_plain_gradient(name):
    want = jax.grad(lambda params: jnp.mean(jax.vmap(lambda x: of_trunk(params, x))(TASKS[:, :2])))(PARAMS)
    assert_parity(ADAPTED[name](inner_wrt="head/bias", num_steps=0), want)


ORDER = jnp.array([[0, 1], [2, 0]])


def of_head(params, x):
    return (x.sum() - params["head"]["bias"][0]) ** 2


@pytest.mark.parametrize("name", ["data_weights_gradient", "smoothness"])
@pytest.mark.parametrize(("loss", "wrt"), [(without_scale, "head/bias"), (of_head, None)])
def test_a_validation_loss_of_what_training_does_not_move_is_refused(name, loss, wrt):
    """By a held leaf, or one that the loss of an example does not use: every weight would have the derivative zero."""
    match = "the validation loss depends on trunk alone, and the inner steps move head/bias"
    given = {"validation_loss": of_trunk, "optimizer": SGD, "inner_wrt": wrt}
    with pytest.raises(ValueError, match=match):
        getattr(meta, name)(loss, PARAMS, (TASK,), ORDER, (TASK,), **given)


def decayed(params, decay, x):
    return without_scale(params, x) + decay * jnp.sum(params["head"]["bias"] ** 2)


@pytest.mark.parametrize("method", ["implicit", "unrolled", "forward"])
@pytest.mark.parametrize(
    ("loss", "wrt"), [(decayed, "head/bias"), (lambda params, decay, x: decay * of_head(params, x), None)]
)
def test_an_outer_loss_of_what_the_inner_steps_do_not_move_is_refused(method, loss, wrt):
    with pytest.raises(ValueError, match="outer_loss depends on trunk alone, and the inner steps move head/bias"):
        meta.hypergradient(
            loss,
            lambda params, decay, x: of_trunk(params, x),
            PARAMS,
            jnp.array(0.1),
            (TASK,),
            (TASK,),
            optimizer=SGD,
            num_steps=1,
            inner_wrt=wrt,
            method=method,
        )
