"""`multi_loss.simultaneous_updates` against torch with Adam, plain SGD, and which leaves a loss is seen to touch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import torch_ref.multi_loss
from jaxgrad.multi_loss import gradients, init_states, simultaneous_updates
from jaxgrad.verify.cases.families._multi_loss import adam_states, adam_states_torch
from tests.bridge import assert_parity
from tests.multi_loss.heads import heads, outputs, outputs_torch

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

ADAM = optax.adam(1e-2)
ADAM_TORCH = functools.partial(torch.optim.Adam, lr=1e-2)


def test_matches_torch_for_two_rounds_of_three_heads():
    problem = heads(3)
    params, states = problem.params, init_states(ADAM, problem.params)
    params_torch = problem.params_torch
    states_torch = torch_ref.multi_loss.init_states(ADAM_TORCH, params_torch)
    for _ in range(2):
        params, states, losses = simultaneous_updates(outputs, params, states, problem.x, optimizer=ADAM)
        params_torch, states_torch, losses_torch = torch_ref.multi_loss.simultaneous_updates(
            outputs_torch, params_torch, states_torch, problem.x_torch, optimizer=ADAM_TORCH
        )
        assert_parity(losses, losses_torch)
    assert_parity(params, params_torch)
    assert_parity(adam_states(params, states), adam_states_torch(params_torch, states_torch))
    assert states["trunk"]["layer0"]["bias"][0].count == 6
    assert states["head1"]["layer0"]["bias"][0].count == 2


def test_weight_decay_does_not_reach_an_untouched_leaf():
    problem = heads()
    adamw = optax.adamw(1e-2, weight_decay=0.1)
    adamw_torch = functools.partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.1)
    got, _, _ = simultaneous_updates(
        outputs, problem.params, init_states(adamw, problem.params), problem.x, optimizer=adamw
    )
    want, _, _ = torch_ref.multi_loss.simultaneous_updates(
        outputs_torch,
        problem.params_torch,
        torch_ref.multi_loss.init_states(adamw_torch, problem.params_torch),
        problem.x_torch,
        optimizer=adamw_torch,
    )
    assert_parity(got, want)


def test_with_plain_descent_it_is_one_step_along_the_sum():
    problem, sgd = heads(), optax.sgd(0.1)
    got, _, _ = simultaneous_updates(
        outputs, problem.params, init_states(sgd, problem.params), problem.x, optimizer=sgd
    )
    rows = gradients(outputs, problem.params, problem.x)
    assert_parity(got, jax.tree.map(lambda w, g: w - 0.1 * g.sum(0), problem.params, rows))


def moved(losses_fn, params, **options):
    """Return how often each leaf was stepped."""
    _, states, _ = simultaneous_updates(losses_fn, params, init_states(ADAM, params), optimizer=ADAM, **options)
    structure = jax.tree.structure(params)
    return structure.unflatten([state[0].count.item() for state in structure.flatten_up_to(states)])


THREE = {"a": jnp.asarray(np.ones(2)), "b": jnp.asarray(np.ones(2)), "c": jnp.asarray(np.ones(2))}


def test_dependence_is_structural():
    """A zero gradient counts as a touch, a stopped one does not; and a leaf of integers may be held."""
    assert moved(lambda p: (p["a"].sum() * 0, p["b"].sum()), THREE) == {"a": 1, "b": 1, "c": 0}
    assert moved(lambda p: ((p["a"] * jax.lax.stop_gradient(p["b"])).sum(),), THREE) == {"a": 1, "b": 0, "c": 0}
    assert moved(lambda p: (p["a"][jnp.argmax(p["b"])], 1.0), THREE) == {"a": 1, "b": 0, "c": 0}


def test_dependence_is_found_inside_calls_loops_and_stacks():
    @jax.jit
    def inside(p):
        looped, _ = jax.lax.scan(lambda c, x: (c + x * p["c"].sum(), None), p["b"].sum(), p["b"])
        return p["a"].sum(), looped

    assert moved(inside, THREE) == {"a": 1, "b": 1, "c": 1}
    assert moved(lambda p: jnp.stack(inside(p)), THREE) == {"a": 1, "b": 1, "c": 1}
    assert moved(jax.jit(lambda p: jnp.stack(inside(p))), THREE) == {"a": 1, "b": 1, "c": 1}
    assert moved(lambda p: p["a"] * p["b"], THREE) == {"a": 2, "b": 2, "c": 0}


def test_touches_overrides_the_dependence():
    def losses(p):
        return (p["a"] * p["b"]).sum(), (p["b"] * p["c"]).sum()

    assert moved(losses, THREE, touches=("a", ["b", "c"])) == {"a": 1, "b": 1, "c": 1}
    assert moved(losses, THREE, touches=["*", None]) == {"a": 2, "b": 2, "c": 2}
    named = {"z": lambda path, _: path == "a", "y": "b"}
    assert moved(lambda p: dict(zip("zy", losses(p), strict=True)), THREE, touches=named) == {"a": 1, "b": 1, "c": 0}
    with pytest.raises(ValueError, match=r"touches must have one entry for each loss, length 2; got \('a',\)"):
        moved(losses, THREE, touches=("a",))
    with pytest.raises(ValueError, match=r"one entry for each loss, keys \['x'\]; got \('a',\)"):
        moved(lambda p: {"x": p["a"].sum()}, THREE, touches=("a",))
    with pytest.raises(ValueError, match="touches='d' selects no leaf of params with"):
        moved(losses, THREE, touches=("a", "d"))


def test_wrt_holds_leaves_and_their_states():
    def losses(p):
        return (p["a"] * p["b"]).sum(), (p["b"] * p["c"]).sum() * p["step"]

    params = {**THREE, "step": jnp.asarray(3)}
    assert moved(losses, params, wrt=["a", "b"]) == {"a": 1, "b": 2, "c": 0, "step": 0}
    assert moved(losses, params, wrt=["a", "b"], touches=("a", "b")) == {"a": 1, "b": 1, "c": 0, "step": 0}


def test_an_optimizer_sees_one_leaf_at_a_time():
    """Each leaf is clipped by its own norm, as documented."""
    clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0))
    params = {"a": jnp.zeros(2), "b": jnp.zeros(2)}
    got, _, _ = simultaneous_updates(
        lambda p: (3 * p["a"].sum() + 4 * p["b"].sum(),), params, init_states(clipped, params), optimizer=clipped
    )
    assert_parity(got, jax.tree.map(lambda leaf: jnp.full_like(leaf, -(0.5**0.5)), params))


def test_rejects_a_state_of_the_whole_tree():
    problem = heads()
    with pytest.raises(
        ValueError, match=r"states must have the structure.*of multi_loss.init_states\(optimizer, params"
    ):
        simultaneous_updates(outputs, problem.params, ADAM.init(problem.params), problem.x, optimizer=ADAM)


def test_rejects_what_is_no_optimizer():
    with pytest.raises(TypeError, match=r"optimizer must be an optax transformation.*got a NoneType"):
        simultaneous_updates(outputs, THREE, THREE, optimizer=None)
