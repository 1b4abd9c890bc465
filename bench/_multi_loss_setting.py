"""The networks of the rows of ``multi_loss``: a trunk of a million weights and small heads, in both frameworks."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import torch

from bench._inputs import to_jax, to_torch
from bench._row import Contender, Program, Sizes
from jaxgrad.verify.cases.families._multi_loss import heads_params
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_torch

__all__ = ["FULL", "SMALL", "TRUNK", "Setting", "jax_contender", "losses", "losses_torch", "setting"]

TRUNK = "trunk {trunk}, batch {batch}"
FULL: dict[str, Any] = {"trunk": (512, 512, 512, 512, 512), "head": (64, 1), "batch": 256}
SMALL: dict[str, Any] = {"trunk": (64, 64), "head": (16, 1), "batch": 32}
"""The sizes of the rows: a trunk of about a million weights."""


def losses(params: Any, x: Any) -> tuple[Any, ...]:
    """Return the mean square of every head on a ReLU trunk that runs once."""
    shared = jax.nn.relu(mlp_jax(params["trunk"], x, jax.nn.relu))
    return tuple((mlp_jax(params[f"head{k}"], shared, jax.nn.relu) ** 2).mean() for k in range(len(params) - 1))


def losses_torch(params: Any, x: Any) -> tuple[Any, ...]:
    """Return the same in torch."""
    shared = torch.relu(mlp_torch(params["trunk"], x, torch.relu))
    return tuple((mlp_torch(params[f"head{k}"], shared, torch.relu) ** 2).mean() for k in range(len(params) - 1))


class Setting(NamedTuple):
    """The inputs of a row in both frameworks, and one gradient of the sum as the unit of cost."""

    params: Any
    x: Any
    params_torch: Any
    x_torch: Any
    gradient: Contender


def setting(size: Sizes) -> Setting:
    """Draw a trunk and small heads."""
    drawn = np.random.default_rng(0).normal(size=(size.batch, size.trunk[0]))
    trees = heads_params(size.trunk, size.head, size.heads), drawn
    (p, x), (pt, xt) = to_jax(trees, size.dtype), to_torch(trees, size.dtype)
    gradient = jax.jit(jax.grad(lambda params, x: sum(losses(params, x))))
    return Setting(
        p, x, pt, xt, Contender("jax.grad of the sum", "jax", lambda: gradient(p, x), Program(gradient, (p, x)))
    )


def jax_contender(name: str, fun: Callable[..., Any], *args: Any, **more: Any) -> Contender:
    """Return a contender that is one compiled program."""
    return Contender(name, "jax", lambda: fun(*args), Program(fun, args), **more)
