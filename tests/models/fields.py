"""The table of the networks that are fields, small, in float64, each with the weights of its torch twin."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx as flax_nnx

import torch_ref.models as twins
from jaxgrad import models
from jaxgrad.models import linen, nnx

__all__ = ["FIELDS", "Field", "field", "in_nnx", "points"]

SMALL_GRID = {"levels": 3, "table_size": 64, "coarsest": 3, "finest": 20}
"""Its first level has an entry a vertex, the others share theirs."""

FIELDS = {
    "Siren": {"first_omega": 12.0, "hidden_omega": 5.0},
    "Finer": {"omega": 5.0, "first_bias": 2.0},
    "GaussianField": {"sigma": 0.3},
    "Wire": {"omega": 6.0, "scale": 2.0},
    "Staf": {"terms": 3, "omega": 6.0},
    "FourierFeatures": {"frequencies": 5, "scale": 0.7},
    "PositionalReLU": {"octaves": 3},
    "HashGrid": SMALL_GRID,
    "SplineGrid": {"levels": 3, "features": 2, "coarsest": 2, "finest": 5, "edge": (1.1, 1.2)},
}
"""By name, the options of a small one."""

SIZES = (2, 6, 6, 3)
"""Square kernels: a missing transpose shows in the values alone."""


@dataclass(frozen=True, eq=False)
class Field:
    """One network in linen and in torch, with one set of weights."""

    apply_fn: Any
    params: Any
    module: Any
    """The torch twin."""
    mapping: models.Mapping


def points(count: int = 7, coordinates: int = 2) -> np.ndarray:
    """Draw points of the square, where no ReLU and no cell of a grid has its edge."""
    return np.random.default_rng(0).uniform(-1, 1, (count, coordinates))


@functools.cache
def field(name: str) -> Field:
    """Return a network of the table; its weights and constants are those that torch drew."""
    torch.manual_seed(0)
    module = getattr(twins, name)(SIZES, **FIELDS[name]).double()
    with torch.no_grad():
        if name in ("HashGrid", "SplineGrid"):
            # from 1e-4 the table would show in no digit
            module.entries.uniform_(-1, 1)
    network = getattr(linen, name)(SIZES, param_dtype=jnp.float64, **FIELDS[name])
    variables = dict(jax.eval_shape(network.init, jax.random.key(0), jnp.asarray(points())))
    mapping, held = _mapped(module, variables["params"], variables.get("constants", {}))
    named = mapping.to_jax(module.state_dict())
    held = {"params": named, "constants": _constants(module)} if held else {"params": named}
    return Field(*models.from_linen(network, variables=held), module, mapping)


@functools.cache
def in_nnx(name: str) -> tuple[Any, Any]:
    """Return the same network in NNX, with the same weights: the function and its parameters."""
    module = field(name).module
    network = getattr(nnx, name)(SIZES, param_dtype=jnp.float64, rngs=flax_nnx.Rngs(1), **FIELDS[name])
    _, params, state = models.from_nnx_with_state(network)
    mapping, _ = _mapped(module, params, state)
    flax_nnx.update(network, {**mapping.to_jax(module.state_dict()), **_constants(module)})
    return models.from_nnx(network)


def _mapped(module: Any, params: Any, constants: Any) -> tuple[models.Mapping, bool]:
    """Return the mapping of the parameters, by names alone, and whether there are constants."""
    mapping = models.mapping_for(module, params)
    assert mapping.guessed == ()
    return mapping, bool(constants)


def _constants(module: Any) -> dict[str, Any]:
    """Return torch's buffers."""
    return {name: jnp.asarray(buffer.numpy()) for name, buffer in module.named_buffers()}
