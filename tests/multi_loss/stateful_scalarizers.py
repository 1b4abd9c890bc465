"""Losses of some steps that every stateful scalarizer sees: one scan each, looked at by several tests."""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import torch

import torch_ref.multi_loss
from jaxgrad import multi_loss
from jaxgrad.verify._bridge import to_torch

__all__ = ["LOSSES", "RULES", "Rule", "run", "run_torch"]

STEPS = 12
_RNG = np.random.default_rng(5)
LOSSES = np.exp(-np.outer(np.arange(STEPS), [0.02, 0.1, 0.3])) * _RNG.uniform(0.7, 1.5, (STEPS, 3)) * [1.0, 4.0, 0.3]
AFTER = LOSSES * _RNG.uniform(0.8, 1.1, (STEPS, 3))
NORMS = _RNG.uniform(0.5, 2.0, (STEPS, 3)) * [3.0, 1.0, 0.2]


class Rule(NamedTuple):
    """A stateful scalarizer, ours and the twin."""

    ours: Any
    theirs: Any
    extra: dict[str, Any]
    """What the update is given beside the losses, one a step."""
    learned: str
    """The part of the state that has one number for each loss, after all steps."""


def rule(name, learned, extra=None, *, ours=None, theirs=None):
    made = getattr(multi_loss, name)(**(ours or {}))
    return Rule(made, getattr(torch_ref.multi_loss, name)(**(theirs or ours or {})), extra or {}, learned)


ADAM = {"ours": {"optimizer": optax.adam(0.1)}, "theirs": {"optimizer": functools.partial(torch.optim.Adam, lr=0.1)}}

RULES = {
    "uncertainty": rule("uncertainty", "log_variances", **ADAM),
    "imtl_l": rule("imtl_l", "log_scales", **ADAM),
    "dwa": rule("dwa", "", ours={"steps_per_epoch": 3, "temperature": 1.5}),
    "famo": rule("famo", "logits", {"after": AFTER}),
    "gradnorm": rule("gradnorm", "weights", {"norms": NORMS}, **ADAM),
}


def scanned(made, losses, extra):
    """Return the values, their derivatives by the losses, and the last state."""

    def step(state, given):
        losses, extra = given
        (value, state), slope = jax.value_and_grad(made.update, has_aux=True)(losses, state, **extra)
        return state, (value, slope)

    state, (values, slopes) = jax.lax.scan(step, made.init(losses.shape[1]), (losses, extra))
    return values, slopes, state


@functools.cache
def run(name):
    found = RULES[name]
    return jax.device_get(jax.jit(functools.partial(scanned, found.ours))(LOSSES, found.extra))


@functools.cache
def run_torch(name):
    """Return the twin's values and the last state."""
    (init, update), extra = RULES[name].theirs, to_torch(RULES[name].extra)
    state, values = init(3), []
    for i, losses in enumerate(to_torch(LOSSES)):
        value, state = update(losses, state, **{key: rows[i] for key, rows in extra.items()})
        values.append(value.item())
    return np.array(values), state
