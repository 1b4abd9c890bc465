"""Rules in the place of another kind, or not called: what is said, and that it is right when it is followed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgrad import multi_loss
from jaxgrad.multi_loss._stateful import FACTORIES, Scalarizer, Weighting, WeightingOfRows
from tests.multi_loss.heads import heads, outputs

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

PROBLEM = heads()
ROWS = jnp.array([[1.0, 0.0], [-1.0, 1.0]])
MADE = {
    "pcd": multi_loss.pcd(),
    "gradvac": multi_loss.gradvac(),
    "modo": multi_loss.modo(),
    "sdmgrad": multi_loss.sdmgrad(),
    "cr_mogm": multi_loss.cr_mogm(multi_loss.mgda),
    "excess_mtl": multi_loss.excess_mtl(),
    "famo": multi_loss.famo(),
    "dwa": multi_loss.dwa(steps_per_epoch=2),
    "gradnorm": multi_loss.gradnorm(optimizer=optax.sgd(0.1)),
    "imtl_l": multi_loss.imtl_l(optimizer=optax.sgd(0.1)),
    "uncertainty": multi_loss.uncertainty(optimizer=optax.sgd(0.1)),
}
OF_THE_MATRIX = [name for name, made in MADE.items() if type(made) is Weighting]


def into(place, rule, **more):
    """Give a rule in a place to every public function that has the place."""
    state = multi_loss.init_momentum(PROBLEM.params, 2)
    yield functools.partial(multi_loss.aggregated_gradient, outputs, PROBLEM.params, PROBLEM.x, **{place: rule}, **more)
    yield functools.partial(multi_loss.momentum_gradients, outputs, PROBLEM.params, state, PROBLEM.x, **{place: rule})
    if place == "weighting":
        yield functools.partial(multi_loss.aggregate, ROWS, weighting=rule, **more)
        yield functools.partial(multi_loss.cr_mogm, rule)


def refused(place, rule, error, words):
    for call in into(place, rule):
        with pytest.raises(error, match=f"(?s){words}"):
            call()


def test_every_function_that_makes_a_rule_says_what_it_makes():
    assert {factory.__name__: kind for factory, kind in FACTORIES} == {name: type(made) for name, made in MADE.items()}
    returned = {name: getattr(multi_loss, name).__annotations__.get("return") for name in multi_loss.__all__}
    assert {name for name, kind in returned.items() if kind in {"Weighting", "Scalarizer"}} == set(MADE)


@pytest.mark.parametrize("place", ["weighting", "aggregator"])
@pytest.mark.parametrize("name", OF_THE_MATRIX)
def test_a_rule_that_has_not_been_called(name, place):
    call = rf"rule = {name}\({'weighting' * (name == 'cr_mogm')}\), and give weighting=rule with state="
    refused(place, getattr(multi_loss, name), TypeError, f"{place} is {name}, which makes a rule, a Weighting.*{call}")


def test_some_arguments_filled_in_are_no_call():
    refused("weighting", functools.partial(multi_loss.pcd, fraction=0.1), TypeError, r"rule = pcd\(\), and give")
    refused("weighting", functools.partial(multi_loss.cr_mogm, multi_loss.mgda), TypeError, r"rule = cr_mogm\(\), and")


@pytest.mark.parametrize("place", ["weighting", "aggregator"])
def test_a_rule_of_the_rows_that_returns_weights(place):
    words = r"a Weighting that takes the rows.*update\(rows, state\).*weights to weighted_gradient"
    refused(place, MADE["excess_mtl"], ValueError, f"{place} is {words}")
    refused(place, multi_loss.excess_mtl, ValueError, f"{place} is excess_mtl, which makes {words}")


def test_what_is_said_of_a_rule_of_the_rows_works():
    made, rows = MADE["excess_mtl"], multi_loss.gradients(outputs, PROBLEM.params, PROBLEM.x)
    weights, _ = made.update(rows, made.init(2, PROBLEM.params))
    found = multi_loss.weighted_gradient(outputs, PROBLEM.params, PROBLEM.x, weights=weights)
    want = jax.tree.map(lambda leaf: jnp.tensordot(weights, leaf, 1), rows)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6), found, want)
    assert isinstance(made, WeightingOfRows)
    assert isinstance(made._replace(update=made.update), WeightingOfRows)


@pytest.mark.parametrize("place", ["weighting", "aggregator"])
@pytest.mark.parametrize("name", [name for name, made in MADE.items() if isinstance(made, Scalarizer)])
def test_what_joins_losses_with_a_state(name, place):
    words = r"a Scalarizer, which joins the losses and not their gradients: call its update\(losses, state\)"
    refused(place, MADE[name], TypeError, f"{place} is {words}")
    refused(place, getattr(multi_loss, name), TypeError, f"{place} is {name}, which makes {words}")


@pytest.mark.parametrize("place", ["weighting", "aggregator"])
@pytest.mark.parametrize("name", ["cosmos", "geometric_mean", "pbi", "stch"])
def test_what_joins_losses_without_a_state(name, place):
    refused(place, getattr(multi_loss, name), TypeError, f"{place} is {name}, which joins the losses.*inside of a loss")


@pytest.mark.parametrize("name", OF_THE_MATRIX)
def test_a_rule_with_a_state_is_no_aggregator(name):
    refused("aggregator", MADE[name], ValueError, "the Gram matrix with a state.*weighting=, with state= and full_out")


def test_a_rule_without_a_state_is_given_none():
    """It handed on the state of another rule, and looked as if it had learned."""
    state = MADE["pcd"].init(2)
    more = {"state": state, "full_output": True}
    for place, rule in (("weighting", multi_loss.mgda), ("aggregator", multi_loss.graddrop)):
        with pytest.raises(ValueError, match=f"state must be None, since {place} is a function.*got a PcdState"):
            next(into(place, rule, **more))()
    with pytest.raises(ValueError, match="state must be None, since weighting is a function"):
        multi_loss.aggregate(ROWS, weighting=multi_loss.mgda, **more)


def test_momenta_without_the_state_of_their_rule():
    started = multi_loss.init_momentum(PROBLEM.params, 2)
    with pytest.raises(ValueError, match=r"init_momentum\(params, 2, rule=weighting\.init\(2\)\)"):
        multi_loss.momentum_gradients(outputs, PROBLEM.params, started, PROBLEM.x, weighting=MADE["pcd"])
