"""Three regression tasks for the tanh network, and the optimizers of both frameworks, built once."""

import jax.numpy as jnp
import numpy as np
import optax
import torch

from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params, mlp_torch
from tests.bridge import to_jax, to_torch
from torch_ref.meta import _optimizers

__all__ = [
    "OPTIMIZERS",
    "PARAMS",
    "PARAMS_TORCH",
    "QUERY",
    "QUERY_TORCH",
    "RATES",
    "RATES_TORCH",
    "STATE",
    "STATE_TORCH",
    "STEPPED",
    "STEPPED_TORCH",
    "SUPPORT",
    "SUPPORT_TORCH",
    "centred",
    "centred_torch",
]

_rng = np.random.default_rng(0)
_params = mlp_params((2, 4, 1), 0)
_support = _rng.normal(size=(3, 4, 2)), _rng.normal(size=(3, 4, 1))
_query = _rng.normal(size=(3, 5, 2)), _rng.normal(size=(3, 5, 1))
_stepped = _rng.normal(size=(3, 5, 4, 2)), _rng.normal(size=(3, 5, 4, 1))
_rates = {  # of every kind: one, one an entry, one a step, one a step and an entry
    "layer0": {"weight": np.array(0.7), "bias": _rng.uniform(0.2, 1.0, size=4)},
    "layer1": {"weight": _rng.uniform(0.2, 1.0, size=(5, 1, 1)), "bias": _rng.uniform(0.2, 1.0, size=(5, 1))},
}
_state = {"mean": _rng.normal(size=1)}

PARAMS, SUPPORT, QUERY = to_jax((_params, _support, _query))
PARAMS_TORCH, SUPPORT_TORCH, QUERY_TORCH = to_torch((_params, _support, _query))

STEPPED, RATES, STATE = to_jax((_stepped, _rates, _state))
"""Data of five steps for every task, factors of the updates of these steps, and a running mean."""
STEPPED_TORCH, RATES_TORCH, STATE_TORCH = to_torch((_stepped, _rates, _state))

OPTIMIZERS = {
    "sgd": (optax.sgd(0.1), _optimizers.sgd(0.1)),
    "momentum": (optax.sgd(0.1, momentum=0.9), _optimizers.sgd(0.1, momentum=0.9)),
    "adam": (optax.adam(0.05), _optimizers.adam(0.05)),
}


def centred(params, state, x, y, *, train):
    """A loss with the statistics of BatchNorm in small: predictions less their mean, or less the running one."""
    prediction = mlp_jax(params, x)
    mean = prediction.mean(0)
    later = {"mean": 0.8 * state["mean"] + 0.2 * mean}
    return jnp.mean((prediction - y - (mean if train else state["mean"])[None]) ** 2), later if train else state


def centred_torch(params, state, x, y, *, train):
    """The same in torch."""
    prediction = mlp_torch(params, x)
    mean = prediction.mean(0)
    later = {"mean": 0.8 * state["mean"] + 0.2 * mean}
    return torch.mean((prediction - (mean if train else state["mean"]) - y) ** 2), later if train else state
