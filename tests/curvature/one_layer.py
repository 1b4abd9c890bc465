"""The smallest network that has a Hessian which depends on its parameters, in two leaves: what it costs is compiling.

For the functions that take a product and know nothing of what is in it. One tree of this size takes half the time to
compile that two layers take, for the arithmetic goes leaf by leaf.
"""

import functools
from typing import Any

import torch
from jax import numpy as jnp

import torch_ref.curvature
from jaxgrad.curvature import hvp
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_torch
from tests.problems import regression

__all__ = ["HESSIAN", "HESSIAN_TORCH", "PROBLEM", "bent_square", "bent_square_torch"]


def bent_square(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error of one layer with a tanh behind it, over a batch or on one example."""
    return ((jnp.tanh(mlp_jax(params, x)) - y) ** 2).mean()


def bent_square_torch(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error of one layer with a tanh behind it, in torch."""
    return ((torch.tanh(mlp_torch(params, x)) - y) ** 2).mean()


PROBLEM = regression((4, 3))
HESSIAN = functools.partial(hvp, bent_square)
HESSIAN_TORCH = functools.partial(torch_ref.curvature.hvp, bent_square_torch)
