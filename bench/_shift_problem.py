"""What the rows of the family ``shift`` share: a network in both frameworks, and torch's way of moving its weights."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from bench._inputs import to_jax, to_torch
from bench._row import Contender, Program, Sizes
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params, mlp_torch

__all__ = ["MLP", "SMALL", "InPlace", "Setting", "loss", "loss_torch", "ours", "setting"]


def loss(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error of the ReLU network."""
    return jnp.mean((mlp_jax(params, x, jax.nn.relu) - y) ** 2)


def loss_torch(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error of the ReLU network, in torch."""
    return ((mlp_torch(params, x, torch.relu) - y) ** 2).mean()


MLP: dict[str, Any] = {"mlp": (784, 512, 512, 10), "batch": 256}
SMALL: dict[str, Any] = {"mlp": (64, 128, 10), "batch": 32}
"""The sizes of the rows."""


class Setting(NamedTuple):
    """The inputs of a row in both frameworks, and one gradient as the unit of cost."""

    params: Any
    data: tuple[Any, Any]
    params_torch: Any
    data_torch: tuple[Any, Any]
    gradient: Contender


def setting(size: Sizes) -> Setting:
    """Draw the network and its data."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(size.batch, size.mlp[0])), rng.normal(size=(size.batch, size.mlp[-1]))
    trees = mlp_params(size.mlp, 0), data
    (p, data), (pt, data_torch) = to_jax(trees, size.dtype), to_torch(trees, size.dtype)
    gradient = jax.jit(jax.grad(loss))
    unit = Contender("jax.grad", "jax", lambda: gradient(p, *data), Program(gradient, (p, *data)))
    return Setting(p, data, pt, data_torch, unit)


def ours(fun: Any, *args: Any) -> Contender:
    """Return our contender on its arguments."""
    return Contender("jaxgrad", "jax", lambda: fun(*args), Program(fun, args))


class InPlace:
    """What torch optimizers do: move the weights in place, differentiate, and move them back."""

    def __init__(self, params: Any, data: tuple[Any, Any]) -> None:
        """Take a copy of the weights of its own."""
        self.params = jax.tree.map(lambda leaf: leaf.clone().requires_grad_(), params)
        self.leaves, self.structure = jax.tree.flatten(self.params)
        self.data = data

    def gradient(self) -> Any:
        """Return the gradient at the present weights."""
        return torch.autograd.grad(loss_torch(self.params, *self.data), self.leaves)

    def at(self, shift: Any) -> Any:
        """Return the gradient at shifted weights."""
        with torch.no_grad():
            torch._foreach_add_(self.leaves, shift)
        slopes = self.gradient()
        with torch.no_grad():
            torch._foreach_sub_(self.leaves, shift)
        return slopes

    def tree(self, slopes: Any) -> Any:
        """Return a list of gradients as a tree."""
        return jax.tree.unflatten(self.structure, slopes)
