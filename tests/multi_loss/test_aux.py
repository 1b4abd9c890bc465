"""What the losses return beside their values: that of the one forward, with the rest as it was; what is refused."""

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxgrad import multi_loss
from tests.bridge import assert_parity
from tests.multi_loss.heads import heads, outputs
from tests.turns import covering

# numbers are compared here, not speed
pytestmark = pytest.mark.usefixtures("compiled_quickly")

PROBLEM = heads()
MOMENTUM = optax.sgd(0.1, momentum=0.9)


def described(params, x):
    """Two losses with leaves of every kind beside them."""
    first, second = outputs(params, x)
    aux = {
        "first": first,
        "right": x[:, 0] > 0,
        "count": jnp.int8(3),
        "narrow": x.astype(jnp.bfloat16),
        "none": None,
        "empty": jnp.zeros((0, 2)),
    }
    return (first, second), aux


def stacked(params, x):
    losses, aux = described(params, x)
    return jnp.stack(losses), aux


def scaled(params, x):
    """An array that is no stack of scalars."""
    losses, aux = stacked(params, x)
    return losses * jnp.ones(2), aux


def named(params, x):
    (first, second), aux = described(params, x)
    return {"z": first, "a": second}, aux


FORMS = {f.__name__: (f, lambda *args, f=f: f(*args)[0]) for f in (described, stacked, scaled, named)}


def states():
    return multi_loss.init_states(MOMENTUM, PROBLEM.params)


CALLS = {
    "gradients": lambda f, p, x, **o: multi_loss.gradients(f, p, x, **o),
    "losses_and_gradients": lambda f, p, x, **o: multi_loss.losses_and_gradients(f, p, x, **o),
    "simultaneous_updates": lambda f, p, x, **o: multi_loss.simultaneous_updates(
        f, p, states(), x, optimizer=MOMENTUM, **o
    ),
    "sequential_updates": lambda f, p, x, **o: multi_loss.sequential_updates(
        f, p, states(), x, optimizer=MOMENTUM, **o
    ),
}


def apart(name, result):
    """Return a result as it is without the aux, and the aux."""
    if name == "losses_and_gradients":
        (losses, aux), rows = result
        return (losses, rows), aux
    return result


@pytest.mark.usefixtures("compiled_quickly")
@pytest.mark.parametrize(
    ("call", "form", "wrt"), covering(CALLS, FORMS, [None, pytest.param("head1", marks=pytest.mark.slow)])
)
def test_aux_is_that_at_the_given_parameters_and_the_rest_is_as_it_was(call, form, wrt):
    with_aux, alone = FORMS[form]
    result, aux = apart(call, CALLS[call](with_aux, PROBLEM.params, PROBLEM.x, has_aux=True, wrt=wrt))
    assert_parity(result, CALLS[call](alone, PROBLEM.params, PROBLEM.x, wrt=wrt), dtypes=True)
    assert_parity(aux, jax.jit(with_aux)(PROBLEM.params, PROBLEM.x)[1], dtypes=True)


@pytest.mark.parametrize("call", CALLS)
def test_there_is_no_second_forward(call):
    """What a program does not need is left out of it before its activations are counted."""

    def count(fun, **options):
        run = jax.jit(lambda p, x: CALLS[call](fun, p, x, **options))
        return run.lower(PROBLEM.params, PROBLEM.x).as_text().count(".tanh ")

    assert count(described, has_aux=True) == count(FORMS["described"][1]) > 0


def test_aux_is_not_differentiated():
    def rooted(params, x):
        losses, _ = described(params, x)
        return losses, jnp.sqrt(0 * losses[0])

    rows, aux = multi_loss.gradients(rooted, PROBLEM.params, PROBLEM.x, has_aux=True)
    assert_parity(rows, multi_loss.gradients(outputs, PROBLEM.params, PROBLEM.x))
    assert aux == 0


def no_losses(params, x):
    return {"first": x}, outputs(params, x)


NOTE = r"With has_aux=True losses_fn returns the pair"
REFUSED = {
    "a pair without has_aux": (described, {}, rf"(?s)losses.* must.*{NOTE}"),
    "no pair": (FORMS["named"][1], {"has_aux": True}, r"the pair \(loss, aux\), since has_aux=True; got a dict"),
    "two losses for a pair": (outputs, {"has_aux": True}, rf"(?s)shape \(K,\).*{NOTE}"),
    "the aux first": (no_losses, {"has_aux": True}, rf"(?s)must be a scalar.*{NOTE}"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", REFUSED)
def test_refusals(call, name):
    fun, options, match = REFUSED[name]
    with pytest.raises((TypeError, ValueError), match=match):
        CALLS[call](fun, PROBLEM.params, PROBLEM.x, **options)
