"""Rows of the scalarizers of ``multi_loss``: the joined loss and its derivatives by the losses."""

import functools
from typing import Any

import jax
import numpy as np
import torch

import torch_ref.multi_loss
from bench._row import Contender, Problem, Program, Row
from jaxgrad import multi_loss
from jaxgrad.verify._bridge import to_jax, to_torch

__all__ = ["ROWS"]

COUNT = 8


def options(count: int = COUNT) -> dict[str, dict[str, Any]]:
    """Return what each is given beside the losses."""
    weights = np.linspace(0.5, 1.5, count).astype(np.float32) / count
    return {
        "stch": {"mu": 0.1, "weights": weights},
        "cosmos": {"penalty": 2.0, "weights": weights},
        "pbi": {"penalty": 5.0, "weights": weights},
        "geometric_mean": {},
    }


def stateless_problem(name: str, quick: bool) -> Problem:
    """Our program against the twin's operations, one by one."""
    count = 3 if quick else COUNT
    losses, given = np.random.default_rng(0).uniform(0.5, 2.0, count).astype(np.float32), options(count)[name]
    ours = jax.jit(jax.value_and_grad(functools.partial(getattr(multi_loss, name), **to_jax(given, np.float32))))
    theirs, given_torch = getattr(torch_ref.multi_loss, name), to_torch(given, np.float32)

    def by_torch() -> Any:
        leaf = to_torch(losses, np.float32).requires_grad_()
        value = theirs(leaf, **given_torch)
        return value.detach(), torch.autograd.grad(value, leaf)[0]

    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: ours(losses), Program(ours, (losses,))),
            Contender("torch_ref", "torch", by_torch),
        ]
    )


ROWS = [Row(name, f"{COUNT} losses", functools.partial(stateless_problem, name)) for name in options()]
