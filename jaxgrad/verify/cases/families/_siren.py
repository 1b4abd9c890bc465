"""A network of sines, written once for both frameworks on one tree of ``weight`` and ``bias``."""

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxgrad import inr
from jaxgrad.models._siren import bounds

__all__ = ["siren_jax", "siren_params", "siren_torch"]

OMEGA = 30.0
"""The frequency of the first layer, and the scale of the others (Sitzmann et al. 2020, section 3.2)."""


def siren_params(sizes: tuple[int, ...], seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Draw the layers with the bounds that keep every layer's input spread alike."""
    rng = np.random.default_rng(seed)
    return {
        f"layer{i}": {"weight": rng.uniform(-c, c, (b, a)), "bias": rng.uniform(-1, 1, b) / np.sqrt(a)}
        for i, ((c, _), (a, b)) in enumerate(zip(bounds(sizes, OMEGA), itertools.pairwise(sizes), strict=True))
    }


def siren_jax(params: Any, x: Any) -> Any:
    """Apply the network to ``x`` of shape ``(..., in)`` in JAX; the last layer is linear."""
    for i in range(len(params)):
        bias = params[f"layer{i}"]["bias"]
        x = x @ params[f"layer{i}"]["weight"].T
        x = x + jnp.expand_dims(bias, tuple(range(x.ndim - 1)))
        x = inr.sine(OMEGA * x) if i < len(params) - 1 else x
    return x


def siren_torch(params: Any, x: Any) -> Any:
    """Apply the network in torch."""
    import torch

    for i in range(len(params)):
        x = torch.nn.functional.linear(x, params[f"layer{i}"]["weight"], params[f"layer{i}"]["bias"])
        x = torch.sin(OMEGA * x) if i < len(params) - 1 else x
    return x
