"""Gradients of some steps that every stateful weighting sees: one scan each, looked at by several tests."""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np

import torch_ref.multi_loss
from jaxgrad import multi_loss
from jaxgrad.multi_loss._pcgrad import orders
from jaxgrad.verify._bridge import to_torch

__all__ = ["GIVEN", "KEYS", "ROWS", "RULES", "Rule", "run", "run_torch", "started"]

STEPS = 8
_RNG = np.random.default_rng(11)
_SHARED = _RNG.normal(size=(STEPS, 1, 5)) * np.array([[1.0], [-0.7], [0.4]])
ROWS = (_SHARED + 0.8 * _RNG.normal(size=(STEPS, 3, 5))) * np.exp(-0.1 * np.arange(STEPS))[:, None, None]
OTHER = ROWS + 0.3 * _RNG.normal(size=ROWS.shape)
KEYS = jax.random.split(jax.random.key(2), STEPS)
GRAMS = ROWS @ ROWS.swapaxes(1, 2)
PRODUCTS = ROWS @ OTHER.swapaxes(1, 2)


def inverse_lengths(gram):
    """A rule without a state, for JAX and torch."""
    return gram.diagonal() ** -0.5


class Rule(NamedTuple):
    """A stateful weighting, ours and the twin, and what both are given at each step."""

    ours: Any
    theirs: Any
    given: np.ndarray


def rule(name, given, *arguments, **options):
    return Rule(
        getattr(multi_loss, name)(*arguments, **options),
        getattr(torch_ref.multi_loss, name)(*arguments, **options),
        given,
    )


RULES = {
    "gradvac": rule("gradvac", GRAMS, beta=0.3),
    "excess_mtl": rule("excess_mtl", ROWS, learning_rate=0.7, num_warmup_steps=2),
    "cr_mogm": rule("cr_mogm", GRAMS, inverse_lengths, decay=0.6),
    "modo": rule("modo", PRODUCTS, learning_rate=0.05, regularization=0.2),
    "sdmgrad": rule("sdmgrad", PRODUCTS, learning_rate=0.5, num_steps=6),
    "pcd": rule("pcd", GRAMS, fraction=0.2, decay=0.9),
}
GIVEN = {name: found.given for name, found in RULES.items()}


def started(name, made):
    return made.init(3, np.zeros(5)) if name == "excess_mtl" else made.init(3)


def scanned(name, given):
    made = RULES[name].ours

    def step(state, now):
        given, key = now
        weights, state = made.update(given, state, **({"key": key} if name == "gradvac" else {}))
        return state, weights

    state, weights = jax.lax.scan(step, started(name, made), (given, KEYS))
    return weights, state


@functools.cache
def program(name):
    return jax.jit(functools.partial(scanned, name))


@functools.cache
def run(name):
    """Return the weights of all steps and the last state."""
    return jax.device_get(program(name)(GIVEN[name]))


@functools.cache
def run_torch(name):
    """Return the twin's weights of all steps."""
    init, update = RULES[name].theirs
    state = init(3, to_torch(np.zeros(5))) if name == "excess_mtl" else init(3)
    found = []
    for given, key in zip(to_torch(GIVEN[name]), KEYS, strict=True):
        weights, state = update(given, state, **({"orders": orders(key, 3).tolist()} if name == "gradvac" else {}))
        found.append(weights.numpy())
    return np.stack(found)
