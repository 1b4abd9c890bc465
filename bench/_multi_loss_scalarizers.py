"""Rows of the scalarizers of ``multi_loss``, the joined loss and its derivatives, and of weightings with a state."""

import functools
from typing import Any

import jax
import numpy as np
import optax
import torch

import torch_ref.multi_loss
from bench._inputs import to_jax, to_torch
from bench._row import Contender, Problem, Program, Row, Sizes
from jaxgrad import multi_loss
from jaxgrad.multi_loss._pcgrad import orders

__all__ = ["ROWS"]


def options(count: int) -> dict[str, dict[str, Any]]:
    """Return what each is given beside the losses."""
    weights = np.linspace(0.5, 1.5, count) / count
    return {
        "stch": {"mu": 0.1, "weights": weights},
        "cosmos": {"penalty": 2.0, "weights": weights},
        "pbi": {"penalty": 5.0, "weights": weights},
        "geometric_mean": {},
    }


def stateless_problem(name: str, size: Sizes) -> Problem:
    """Our program against the twin's operations, one by one."""
    count, dtype = size.losses, size.dtype
    losses, given = np.random.default_rng(0).uniform(0.5, 2.0, count).astype(dtype), options(count)[name]
    ours = jax.jit(jax.value_and_grad(functools.partial(getattr(multi_loss, name), **to_jax(given, size.dtype))))
    theirs, given_torch = getattr(torch_ref.multi_loss, name), to_torch(given, size.dtype)

    def by_torch() -> Any:
        leaf = to_torch(losses, size.dtype).requires_grad_()
        value = theirs(leaf, **given_torch)
        return value.detach(), torch.autograd.grad(value, leaf)[0]

    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: ours(losses), Program(ours, (losses,))),
            Contender("torch_ref", "torch", by_torch),
        ]
    )


STATEFUL: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    name: ({"optimizer": optax.adam(0.025)}, {"optimizer": functools.partial(torch.optim.Adam, lr=0.025)})
    for name in ("gradnorm", "uncertainty", "imtl_l")
} | {"famo": ({}, {}), "dwa": ({"steps_per_epoch": 10}, {"steps_per_epoch": 10})}
"""By name, the options of ours and of the twin."""


def stateful_problem(name: str, size: Sizes) -> Problem:
    """The first step of each: the joined loss, its derivatives and the next state, against the twin's operations."""
    count, options = size.losses, STATEFUL[name]
    losses = np.random.default_rng(0).uniform(0.5, 2.0, count).astype(size.dtype)
    extra = {"norms": losses[::-1].copy()} if name == "gradnorm" else {}
    ours = getattr(multi_loss, name)(**options[0])
    init, update = getattr(torch_ref.multi_loss, name)(**options[1])
    update_with = functools.partial(ours.update, **extra)
    step, state = jax.jit(jax.value_and_grad(update_with, has_aux=True)), ours.init(count)
    # the twins keep their state in float64
    given = to_torch((losses, extra), np.float64)

    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: step(losses, state), Program(step, (losses, state)), lambda r: r[0][0]),
            Contender("torch_ref", "torch", lambda: update(given[0], init(count), **given[1]), read=lambda r: r[0]),
        ]
    )


EIGHT, THREE = {"losses": 8, "numbers": 1_000_000}, {"losses": 3, "numbers": 1000}
STEP = "{losses} losses, one step"

ROWS = [Row(name, "{losses} losses", functools.partial(stateless_problem, name), EIGHT, THREE) for name in options(8)]
ROWS += [Row(name, STEP, functools.partial(stateful_problem, name), EIGHT, THREE) for name in STATEFUL]


def inverse_lengths(gram: Any) -> Any:
    """A rule for `cr_mogm` to smooth, for JAX and torch."""
    return gram.diagonal() ** -0.5


WEIGHTINGS: dict[str, tuple[Any, ...]] = {
    "cr_mogm": (inverse_lengths,),
    **dict.fromkeys(("excess_mtl", "gradvac", "modo", "pcd", "sdmgrad"), ()),
}
"""By name, what it is built of."""


def weighting_problem(name: str, size: Sizes) -> Problem:
    """The first step of a weighting: the weights, against the twin's operations."""
    count, length = size.losses, size.numbers
    rows = np.random.default_rng(0).normal(size=(count, length)).astype(size.dtype) / length**0.5
    given = rows if name == "excess_mtl" else rows @ rows.T
    ours = getattr(multi_loss, name)(*WEIGHTINGS[name])
    init, update = getattr(torch_ref.multi_loss, name)(*WEIGHTINGS[name])
    more = (rows[0],) if name == "excess_mtl" else ()
    key = jax.random.key(0)
    extra, extra_torch = ({"key": key}, {"orders": orders(key, count).tolist()}) if name == "gradvac" else ({}, {})
    step, state = jax.jit(functools.partial(ours.update, **extra)), ours.init(count, *more)
    given_torch, more_torch = to_torch((given, more), np.float64)

    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: step(given, state), Program(step, (given, state)), lambda r: r[0]),
            Contender(
                "torch_ref",
                "torch",
                lambda: update(given_torch, init(count, *more_torch), **extra_torch),
                read=lambda r: r[0],
            ),
        ]
    )


ROWS += [Row(name, STEP, functools.partial(weighting_problem, name), EIGHT, THREE) for name in WEIGHTINGS]
