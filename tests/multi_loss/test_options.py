"""Numbers that a rule has no answer for: refused where Python holds them, NaN and never a plain mean where traced."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad import multi_loss
from tests.multi_loss.gram_rules import ROWS
from tests.multi_loss.heads import heads, outputs

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

GRAM = ROWS["in conflict"] @ ROWS["in conflict"].T
LOSSES = np.array([0.7, 2.1, 1.3])
PROBLEM = heads()


def second(made, *given, **more):
    """Return what a pair of functions makes of its second step."""
    state = made.init(3)
    for _ in range(2):
        found, state = made.update(*given, state, **more)
    return found


OF_A_RULE = {
    ("cagrad", "radius"): multi_loss.cagrad,
    ("nash_mtl", "max_norm"): multi_loss.nash_mtl,
    ("nash_mtl", "unit"): multi_loss.nash_mtl,
    ("fairgrad", "alpha"): multi_loss.fairgrad,
    ("fairgrad", "unit"): multi_loss.fairgrad,
}
OF_A_PAIR = {
    ("gradvac", "beta"): {"key": jax.random.key(0)},
    ("pcd", "fraction"): {},
    ("pcd", "decay"): {},
}
OF_A_SCALARIZER = {
    ("stch", "mu"): {},
    ("pbi", "penalty"): {"weights": np.ones(3)},
    ("cosmos", "penalty"): {"weights": np.ones(3)},
}


def with_all(name, options):
    """Call a function of the three tables with some of its options."""
    one = name, next(iter(options))
    if one in OF_A_RULE:
        return OF_A_RULE[one](GRAM, **options)
    if one in OF_A_PAIR:
        return second(getattr(multi_loss, name)(**options), GRAM, **OF_A_PAIR[one])
    return getattr(multi_loss, name)(LOSSES, **options, **OF_A_SCALARIZER[one])


def called(name, option, value):
    return with_all(name, {option: value})


EVERY = [*OF_A_RULE, *OF_A_PAIR, *OF_A_SCALARIZER]


@pytest.mark.parametrize("name", sorted({name for name, _ in [*OF_A_RULE, *OF_A_PAIR]}))
def test_a_traced_number_without_an_answer_shows(name):
    """A comparison with NaN is false: CAGrad gave the mean, PCD the first gradient, GradVac the sum."""
    options = [option for rule, option in EVERY if rule == name]
    program = jax.jit(functools.partial(with_all, name))
    assert np.isfinite(program(dict.fromkeys(options, 0.5))).all()
    for option in options:
        for value in (math.nan, -1.0):
            assert np.isnan(program(dict.fromkeys(options, 0.5) | {option: value})).all(), (option, value)


@pytest.mark.parametrize(("name", "option"), EVERY)
@pytest.mark.parametrize("value", [math.nan, -0.1])
def test_a_number_of_python_is_refused(name, option, value):
    with pytest.raises(ValueError, match=f"{option} must not be negative or NaN"):
        called(name, option, value)


@pytest.mark.parametrize(("name", "option"), [one for one in EVERY if one != ("pcd", "fraction")])
def test_what_is_not_one_real_number_is_refused(name, option):
    for value in (1j, True, None)[: 2 if option == "max_norm" else 3]:
        with pytest.raises(TypeError, match=f"{option} must be a real number"):
            called(name, option, value)
    with pytest.raises(ValueError, match=rf"{option} must be one number, of shape \(\)"):
        called(name, option, np.array([0.1]))


@pytest.mark.parametrize(
    ("build", "limit"),
    [
        (lambda: multi_loss.gradvac(beta=1.5), "beta must be from 0 to 1; got 1.5"),
        (lambda: multi_loss.cr_mogm(multi_loss.mgda, decay=2), "decay must be from 0 to 1; got 2"),
        (lambda: multi_loss.pcd(fraction=1.1), "fraction must be from 0 to 1; got 1.1"),
        (lambda: multi_loss.pcd(decay=np.float64(1)), "decay must be from 0 to below 1; got"),
        (lambda: multi_loss.sdmgrad(momentum=1.0), "momentum must be from 0 to below 1; got 1.0"),
    ],
)
def test_a_share_above_one_is_refused(build, limit):
    with pytest.raises(ValueError, match=limit):
        build()


def test_the_decay_of_momenta():
    """A decay of 1 holds no gradient, and divided zeros by zeros."""
    state = multi_loss.init_momentum(PROBLEM.params, 2)
    errors = ((1j, TypeError), (math.nan, ValueError), (jnp.ones(2), ValueError), (1.0, ValueError), (1.5, ValueError))
    for value, error in errors:
        with pytest.raises(error, match="decay must"):
            multi_loss.momentum_gradients(
                outputs, PROBLEM.params, state, PROBLEM.x, weighting=multi_loss.mean_weights, decay=value
            )
