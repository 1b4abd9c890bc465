"""The table of network pairs: one function of one set of weights in Flax (linen and NNX) and in torch, in float64."""

import functools
from collections.abc import Callable
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
from jaxgrad.verify._bridge import to_jax, to_torch

__all__ = ["PAIRS", "Pair", "pair", "tensors"]


@dataclass(frozen=True)
class Recipe:
    """How a network is made in each framework, and what it takes."""

    twin: Callable[[], Any]
    linen: Callable[..., Any]
    nnx: Callable[..., Any]
    inputs: Callable[[np.random.Generator], np.ndarray]
    """Draws a batch of five inputs, as JAX takes them."""
    flattened: dict[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Pair:
    """One network in both frameworks with one set of weights; functions are made once, so they trace once."""

    apply_fn: Callable[..., Any]
    params: Any
    loss: Callable[..., Any]
    """``loss(params, x, y)``, a mean of squares."""
    data: tuple[Any, ...]
    module: Any
    """The torch twin, in evaluation mode."""
    params_torch: dict[str, Any]
    loss_torch: Callable[..., Any]
    data_torch: tuple[Any, ...]
    mapping: models.Mapping


IMAGES = {
    "inputs": lambda rng: rng.normal(size=(5, 8, 8, 1)),
    "flattened": {"head": (8, 4, 4)},
}
RECIPES = {
    "SquaredInputNet": Recipe(
        twins.SquaredInputNet, linen.SquaredInputNet, nnx.SquaredInputNet, lambda rng: rng.normal(size=(5, 2)), {}
    ),
    "MLP": Recipe(
        # square kernels: a missing transpose shows in the values alone
        lambda: twins.MLP((6, 6, 6, 3)),
        functools.partial(linen.MLP, (6, 6, 6, 3)),
        functools.partial(nnx.MLP, (6, 6, 6, 3)),
        lambda rng: rng.normal(size=(5, 6)),
        {},
    ),
    "GroupNormCNN": Recipe(
        lambda: twins.GroupNormCNN(channels=(4, 8), groups=2, num_classes=3),
        functools.partial(linen.GroupNormCNN, channels=(4, 8), groups=2, num_classes=3),
        functools.partial(nnx.GroupNormCNN, channels=(4, 8), groups=2, num_classes=3),
        **IMAGES,
    ),
    "BatchNormCNN": Recipe(
        lambda: twins.BatchNormCNN(channels=(4, 8), num_classes=3),
        functools.partial(linen.BatchNormCNN, channels=(4, 8), num_classes=3),
        functools.partial(nnx.BatchNormCNN, channels=(4, 8), num_classes=3),
        **IMAGES,
    ),
    "TransformerEncoder": Recipe(
        lambda: twins.TransformerEncoder(11, 6),
        functools.partial(linen.TransformerEncoder, 11, 6),
        functools.partial(nnx.TransformerEncoder, 11, 6),
        lambda rng: rng.integers(0, 11, size=(5, 6)),
        {},
    ),
    "Siren": Recipe(
        lambda: twins.Siren((2, 8, 8, 3)),
        functools.partial(linen.Siren, (2, 8, 8, 3)),
        functools.partial(nnx.Siren, (2, 8, 8, 3)),
        lambda rng: rng.uniform(-1, 1, size=(5, 2)),
        {},
    ),
}
PAIRS = [(name, api) for name in RECIPES for api in ("linen", "nnx")]
"""Every network in either API of Flax."""


@functools.cache
def twin(name: str) -> Any:
    """Return the torch module in evaluation mode, every parameter and statistic moved from its special value."""
    torch.manual_seed(0)
    module = RECIPES[name].twin().double().eval()
    with torch.no_grad():
        for tensor in module.parameters():
            tensor += 0.1 * torch.randn_like(tensor)
        for tensor in module.buffers():
            if tensor.is_floating_point():
                tensor += 0.5 * torch.rand_like(tensor)
    return module


@functools.cache
def pair(name: str, api: str) -> Pair:
    """Return one network in one API of Flax with its torch twin."""
    recipe, module = RECIPES[name], twin(name)
    rng = np.random.default_rng(0)
    x = recipe.inputs(rng)
    apply_fn, params, mapping = {"linen": _linen, "nnx": _nnx}[api](recipe, module, jnp.asarray(x))
    y = rng.normal(size=jax.eval_shape(apply_fn, params, x).shape)
    seen = np.moveaxis(x, -1, 1) if x.ndim == 4 else x
    buffers = dict(module.named_buffers())

    def loss(params: Any, x: Any, y: Any) -> Any:
        return ((apply_fn(params, x) - y) ** 2).mean()

    def loss_torch(params: Any, x: Any, y: Any) -> Any:
        return ((torch.func.functional_call(module, {**params, **buffers}, (x,)) - y) ** 2).mean()

    own = {key: p.detach().clone() for key, p in module.named_parameters()}
    return Pair(apply_fn, params, loss, to_jax((x, y)), module, own, loss_torch, to_torch((seen, y)), mapping)


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return arrays as tensors, in the order in which they came."""
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _linen(recipe: Recipe, module: Any, x: Any) -> tuple[Any, Any, models.Mapping]:
    """Make the linen network with the weights and statistics of the twin."""
    flax_module = recipe.linen(param_dtype=jnp.float64)
    with jax.numpy_dtype_promotion("standard"):
        shapes = jax.eval_shape(flax_module.init, jax.random.key(0), x)
    params = shapes.pop("params")
    mapping = models.mapping_for(module, params, flattened=recipe.flattened)
    state = models.statistics_for(module, shapes).to_jax(module.state_dict())
    variables = {"params": mapping.to_jax(module.state_dict()), **state}
    return *models.from_linen(flax_module, x, variables=variables), mapping


def _nnx(recipe: Recipe, module: Any, x: Any) -> tuple[Any, Any, models.Mapping]:
    """Make the NNX network with the weights and statistics of the twin."""
    flax_module = recipe.nnx(param_dtype=jnp.float64, rngs=flax_nnx.Rngs(0))
    flax_module.eval()
    _, params, state = models.from_nnx_with_state(flax_module)
    mapping = models.mapping_for(module, params, flattened=recipe.flattened)
    flax_nnx.update(flax_module, mapping.to_jax(module.state_dict()))
    flax_nnx.update(flax_module, models.statistics_for(module, state).to_jax(module.state_dict()))
    return *models.from_nnx(flax_module, x), mapping
