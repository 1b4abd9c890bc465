"""`multi_loss.backwards` against torch's retained graph: backwards that are called later, in any order."""

from collections import OrderedDict

import jax
import jax.numpy as jnp
import pytest

import torch_ref.multi_loss
from jaxgrad.multi_loss import backwards, gradients, gram, weighted_gradient
from tests.bridge import assert_parity
from tests.multi_loss.heads import heads, outputs, outputs_torch

pytestmark = pytest.mark.usefixtures("compiled_quickly")

PROBLEM = heads()


def named(params, x):
    first, second = outputs(params, x)
    return {"z": first, "a": second}


def named_torch(params, x):
    first, second = outputs_torch(params, x)
    return {"z": first, "a": second}


def scaled(params, x):
    """An array that is no stack of scalars."""
    return jnp.stack(outputs(params, x)) * jnp.ones(2)


@pytest.fixture(scope="module")
def kept():
    return backwards(named, PROBLEM.params, PROBLEM.x)


def test_matches_torch(kept):
    want = torch_ref.multi_loss.backwards(named_torch, PROBLEM.params_torch, PROBLEM.x_torch)
    assert_parity(kept.losses, {name: loss.detach() for name, loss in want.losses.items()})
    for name in ("z", "a", "z"):
        assert_parity(kept.gradient(name), want.gradient(name))
    assert_parity(kept.gradients(), want.gradients())


def test_is_what_the_functions_of_these_names_give(kept):
    assert_parity(kept.gradient(0), kept.gradient("a"), tolerance=0.0)
    assert_parity(kept.gradients(chunk=2), gradients(named, PROBLEM.params, PROBLEM.x))
    assert_parity(kept.gram(), gram(named, PROBLEM.params, PROBLEM.x))
    weights = {"z": 2.0, "a": -1.0}
    assert_parity(kept.weighted_gradient(weights), weighted_gradient(named, PROBLEM.params, PROBLEM.x, weights=weights))
    whole = backwards(scaled, PROBLEM.params, PROBLEM.x)
    assert_parity(whole.gradient(1), kept.gradient("a"))


def test_a_second_point_traces_nothing():
    backwards(named, PROBLEM.params, PROBLEM.x).gradient("z")
    other = jax.tree.map(lambda leaf: 2 * leaf, PROBLEM.params)
    with jax.no_tracing(True):
        got = backwards(named, other, PROBLEM.x).gradient("z")
    assert_parity(got, jax.jit(jax.grad(lambda p, x: outputs(p, x)[0]))(other, PROBLEM.x))


def test_a_backward_runs_no_forward_and_no_other_head(kept):
    def text(what, option):
        run = jax.jit(
            lambda kept: kept.program.run(kept.kept, kept.losses, kept.params, None, what=what, option=option)
        )
        return run.lower(kept).as_text()

    assert ".tanh " not in text("gradients", None)
    assert text("gradient", 0).count("dot_general") < text("gradients", None).count("dot_general")


def test_it_goes_into_a_compiled_function_and_out_of_one(kept):
    inside = jax.jit(lambda p: backwards(named, p, PROBLEM.x))(PROBLEM.params)
    assert_parity(jax.jit(lambda kept: kept.gradient("a"))(inside), kept.gradient("a"))


def test_wrt_holds_leaves_and_the_aux_is_handed_out(kept):
    def described(params, x):
        return named({name: leaf for name, leaf in params.items() if name != "step"}, x), x[0]

    params = {**PROBLEM.params, "step": jnp.asarray(3)}
    held, aux = backwards(described, params, PROBLEM.x, wrt="head*", has_aux=True)
    got = held.gradient("z")
    assert_parity(got["head0"], kept.gradient("z")["head0"])
    assert got["step"] == 0
    assert not any(leaf.any() for leaf in jax.tree.leaves(got["trunk"]))
    assert_parity(aux, PROBLEM.x[0])


def test_keys_are_in_the_order_of_the_rows():
    """An ``OrderedDict`` is not sorted, ``None`` is no loss, and below one key there may be several losses."""
    first, second = gradients(outputs, PROBLEM.params, PROBLEM.x, wrt="trunk")["trunk"]["layer0"]["weight"]

    def kept_of(losses_fn):
        return backwards(losses_fn, PROBLEM.params, PROBLEM.x, wrt="trunk")

    def of(kept, loss):
        return kept.gradient(loss)["trunk"]["layer0"]["weight"]

    ordered = kept_of(lambda p, x: OrderedDict(zip("za", outputs(p, x), strict=True)))
    assert_parity((of(ordered, "z"), of(ordered, "a")), (first, second))
    assert_parity(of(kept_of(lambda p, x: {"a": None, **dict(zip("bc", outputs(p, x), strict=True))}), "b"), first)
    assert_parity(of(kept_of(lambda p, x: dict(zip((2, 1), outputs(p, x), strict=True))), 1), second)
    several = kept_of(lambda p, x: {"a": outputs(p, x), "b": outputs(p, x)[0]})
    assert_parity((of(several, "b"), of(several, 1)), (first, second))
    with pytest.raises(ValueError, match="there are 2 losses below 'a'; give the index of one, from 0 to 2"):
        several.gradient("a")
    with pytest.raises(ValueError, match="no loss 'a'; the losses have no keys, and an index from 0 to 1"):
        kept_of(outputs).gradient("a")


def test_refusals(kept):
    with pytest.raises(ValueError, match=r"there is no loss 'b'; the keys are \['a', 'z'\]"):
        kept.gradient("b")
    with pytest.raises(ValueError, match="loss must be from 0 to 1; got 2"):
        kept.gradient(2)
    with pytest.raises(ValueError, match="chunk must be at least 1; got 0"):
        kept.gradients(chunk=0)
    with pytest.raises(ValueError, match="weights must be one number for each loss"):
        kept.weighted_gradient(jnp.ones(3))
