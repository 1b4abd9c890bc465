"""The network and the tasks of the family ``meta``'s rows: sinusoid regression, the sizes of the MAML paper."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from bench._inputs import to_jax, to_torch
from bench._row import Contender, Program, Sizes
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params, mlp_torch
from torch_ref.meta import _optimizers

__all__ = [
    "FEW",
    "RATE",
    "SGD",
    "SGD_TORCH",
    "SMALL",
    "TASKS",
    "Setting",
    "descend_torch",
    "loss",
    "loss_torch",
    "ours",
    "setting",
]

RATE = 0.01
SGD, SGD_TORCH = optax.sgd(RATE), _optimizers.sgd(RATE)

FEW: dict[str, Any] = {"mlp": (1, 16, 1)}
"""For rows whose twin forms the Hessian."""

TASKS: dict[str, Any] = {"mlp": (1, 40, 40, 1), "tasks": 25}
SMALL: dict[str, Any] = {"tasks": 5}
"""The sizes of the MAML paper, and small ones."""


def loss(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error of the ReLU network on one task."""
    return jnp.mean((mlp_jax(params, x, jax.nn.relu) - y) ** 2)


def loss_torch(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error of the ReLU network on one task, in torch."""
    return ((mlp_torch(params, x, torch.relu) - y) ** 2).mean()


class Setting(NamedTuple):
    """Parameters, supports and queries in both frameworks, and one gradient on all queries as the unit of cost."""

    jax: tuple[Any, Any, Any]
    torch: tuple[Any, Any, Any]
    gradient: Contender


def setting(size: Sizes) -> Setting:
    """Draw the network and the tasks."""
    tasks, shots, rng = size.tasks, 10, np.random.default_rng(0)
    amplitude, phase = rng.uniform(0.1, 5, (tasks, 1, 1)), rng.uniform(0, np.pi, (tasks, 1, 1))
    points = rng.uniform(-5, 5, (2, tasks, shots, 1))
    support, query = [(x, amplitude * np.sin(x - phase)) for x in points]
    trees = mlp_params(size.mlp, 0), support, query
    params, _, (x, y) = ours = to_jax(trees, size.dtype)
    gradient = jax.jit(jax.grad(loss))
    data = params, x.reshape(-1, 1), y.reshape(-1, 1)
    return Setting(
        ours,
        to_torch(trees, size.dtype),
        Contender("jax.grad", "jax", lambda: gradient(*data), Program(gradient, data)),
    )


def ours(fun: Callable[..., Any], args: tuple[Any, ...], **options: Any) -> Contender:
    """Return our contender, its static arguments bound."""
    call = functools.partial(fun, loss, optimizer=SGD, **options)
    return Contender("jaxgrad", "jax", lambda: call(*args), Program(call, args))


def descend_torch(params: Any, x: Any, y: Any, num_steps: int) -> Any:
    """Take the inner steps with torch.func, on one task."""
    for _ in range(num_steps):
        gradient = torch.func.grad(loss_torch)(params, x, y)
        params = jax.tree.map(lambda w, g: w - RATE * g, params, gradient)
    return params
