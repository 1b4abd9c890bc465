"""Three regression tasks for the tanh network, and the optimizers of both frameworks, built once."""

import numpy as np
import optax

from jaxgrad.verify.cases.families._networks import mlp_params
from tests.bridge import to_jax, to_torch
from torch_ref.meta import _optimizers

__all__ = ["OPTIMIZERS", "PARAMS", "PARAMS_TORCH", "QUERY", "QUERY_TORCH", "SUPPORT", "SUPPORT_TORCH"]

_rng = np.random.default_rng(0)
_params = mlp_params((2, 4, 1), 0)
_support = _rng.normal(size=(3, 4, 2)), _rng.normal(size=(3, 4, 1))
_query = _rng.normal(size=(3, 5, 2)), _rng.normal(size=(3, 5, 1))

PARAMS, SUPPORT, QUERY = to_jax((_params, _support, _query))
PARAMS_TORCH, SUPPORT_TORCH, QUERY_TORCH = to_torch((_params, _support, _query))

OPTIMIZERS = {
    "sgd": (optax.sgd(0.1), _optimizers.sgd(0.1)),
    "momentum": (optax.sgd(0.1, momentum=0.9), _optimizers.sgd(0.1, momentum=0.9)),
    "adam": (optax.adam(0.05), _optimizers.adam(0.05)),
}
